"""What dvc.yaml calls: load the configuration, call the library, write outputs, log."""
