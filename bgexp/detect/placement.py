"""Where the network computes: in each worker, or in one process that all of them ask."""


def wants_one_process(device_type: str) -> bool:
    """Return whether one network serves a device better than one for each worker."""
    return device_type != "cpu"
