"""The dense part of Mask R-CNN beside the rate at which this machine computes convolutions."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from statistics import median
from time import perf_counter

import torch
from torch.utils.flop_counter import FlopCounterMode

from bgexp.detect.build import DTYPES, build_detector, build_model
from bgexp.detect.dense import DenseNetwork

PROCESSES, REPEATS = 2, 5


def measure_dense(settings, shape):
    """Measure for each arithmetic GFLOP/s of both processes, and of a large convolution.

    Processes of one thread each work at the same time, as in a batch. int8 is held against the
    convolution in fp32: torch has none of its own.

    Args:
        settings: Of the detectors, one for each arithmetic.
        shape: Of the pictures, 1x3xHxW.
    """
    gflop = _count_gflop(settings[0], shape)
    results = []
    for detector in settings:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(PROCESSES, mp_context=context) as pool:
            seconds = list(pool.map(_measure_seconds, [detector] * PROCESSES, [shape] * PROCESSES))
        reached = sum(gflop / dense for dense, _ in seconds)
        peak = sum(rate for _, rate in seconds)
        results.append(
            {
                "backend": detector.backend,
                "precision": detector.precision,
                "gflop": gflop,
                "seconds": median(dense for dense, _ in seconds),
                "gflops": reached,
                "convolution_gflops": peak,
                "share": reached / peak,
            }
        )
    return results


def _count_gflop(settings, shape):
    network = DenseNetwork(build_model(settings, n_classes=91).eval())
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(shape))
    return counter.get_total_flops() / 1e9


@torch.inference_mode()
def _measure_seconds(settings, shape):
    """Measure seconds of the dense part, and GFLOP/s of the FPN's largest convolution, in turn."""
    torch.set_num_threads(1)
    detector, picture = build_detector(settings, torch.device("cpu")), torch.rand(shape)
    dtype = DTYPES.get(settings.precision, torch.float32)
    convolution = torch.nn.Conv2d(256, 256, 3, padding=1).to(dtype)
    convolution = convolution.to(memory_format=torch.channels_last)
    x = torch.rand(1, 256, 200, 272).to(dtype).contiguous(memory_format=torch.channels_last)
    flop = 2 * 256 * 256 * 9 * 200 * 272
    dense, rates = [], []
    for _ in range(REPEATS + 1):
        started = perf_counter()
        detector._dense(picture)
        dense.append(perf_counter() - started)
        started = perf_counter()
        convolution(x)
        rates.append(flop / (perf_counter() - started) / 1e9)
    return median(dense[1:]), median(rates[1:])
