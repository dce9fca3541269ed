"""Writes the weighted mean of two files of weights of one network, with both cards.

Usage: python docs/demo-detector/mix.py WEIGHTS OTHER SHARE OUTPUT

SHARE is how much of OTHER goes in, 0 to 1. Wortsman et al., "Robust fine-tuning of zero-shot
models", CVPR 2022: between weights that stay near to the pretrained ones and weights that were
trained freely lie some that do better than both on pictures of another kind.
"""

import json
import sys
from pathlib import Path

from bgexp.detect.weights import read_card, read_state, save_state


def main(weights: Path, other_weights: Path, share: float, output: Path) -> None:
    """Write the mean."""
    first, second = read_state(weights), read_state(other_weights)
    mean = {
        name: v.float().lerp(second[name].float(), share) if v.is_floating_point() else v
        for name, v in first.items()
    }
    settings = json.loads(read_card(other_weights)["settings"])
    mixed = {"share": share, "seed": settings["seed"], "loop": settings["loop"]}  # no paths
    print(output, save_state(mean, output, read_card(weights) | {"mixed": json.dumps(mixed)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4]))
