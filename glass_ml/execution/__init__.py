"""Who computes: processes of this machine, or devices by Lightning."""
