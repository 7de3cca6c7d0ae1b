"""Every setting, declared once: plain dataclasses that import neither torch nor Lightning."""
