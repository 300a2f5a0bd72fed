"""NVIDIA GPUs and NVSwitches: a device's own measurements, signed by its own key."""
