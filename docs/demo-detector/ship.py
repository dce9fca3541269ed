"""Puts trained weights into the package with their model card, and pins their SHA-256.

Usage: python docs/demo-detector/ship.py WEIGHTS COMMIT SCORES

WEIGHTS is what `bgexp train` wrote, of the detector or of the U-Net; COMMIT the one it was
trained at, SCORES a JSON object of the measured scores. The card is the file's metadata:
`safetensors.safe_open(FILE, "pt").metadata()`.
"""

import json
import re
import sys
from pathlib import Path

from bgexp.detect import demo
from bgexp.detect.weights import read_card, read_state, save_state
from bgexp.pipeline import unet

MODULES = {"detector": demo, "unet": unet}
FORMER_NAMES = {"refiner": "unet"}  # in cards of earlier trainings
CARDS = {
    "detector": {
        "name": "bgexp demo: class-agnostic Mask R-CNN, MobileNetV2-FPN",
        "intended_use": "A first cut-out of prominent objects, offline; one class, `object`.",
        "limits": "People, pets and single objects of ordinary photographs it knows best; small "
        "subjects, groups, thin parts and busy backgrounds fail first.",
    },
    "unet": {
        "name": "bgexp U-Net: MobileNetV2 and a decoder, a coarse mask in, a fine one out",
        "intended_use": "Refines the masks of a detector (refine=unet).",
        "limits": "Sees one place of the picture: of many small objects far apart it loses some; "
        "may follow strong lines in the background.",
    },
}
CARD = {
    "data": "Photographs with hand-made masks, subjects of some of them pasted over others (share: "
    "pasted_share in the settings), and composites made by bgexp train. Photographs: "
    "700 street photographs of people, one each in full figure (Clothing Co-Parsing: Yang, Luo, "
    "Lin, CVPR 2014); 645 of a cat or dog (Oxford-IIIT Pet: Parkhi et al., CVPR 2012); 807 of "
    "animals, plants, cameras and vehicles (Caltech-101: Li, Andreeto, Ranzato, Perona 2003). The "
    "photographers of the first set are not named there. Composites' objects: "
    "tuxpaint-stamps-default 2022.06.04 "
    "(photographic stamps listed in docs/demo-detector/cutouts.csv), @lobehub/fluent-emoji-3d "
    "1.1.0. Backgrounds: mate-backgrounds 1.26.0, gnome-backgrounds 43.1, scikit-image textures. "
    "Backbone: torchvision's ImageNet MobileNetV2 (IMAGENET1K_V1).",
    "licences": "Weights: MIT. Training data: Apache-2.0 (repository of Clothing Co-Parsing), "
    "CC BY-SA 4.0 (Oxford-IIIT Pet), CC BY 4.0 (Caltech-101), GPL-2+ and public domain "
    "(tuxpaint-stamps), MIT (fluent-emoji-3d), GPL-2+ and CC-BY-SA (backgrounds), BSD-3-Clause and "
    "CC0 (scikit-image, torchvision).",
}


def main(weights: Path, commit: str, scores: str) -> None:
    """Write the shipped file, and its SHA-256 into the code."""
    trained_card = read_card(weights)
    network = FORMER_NAMES.get(trained_card["model"], trained_card["model"])
    module = MODULES[network]
    card = (
        CARDS[network]
        | CARD
        | {
            key: trained_card[key]
            for key in ("model", "settings", "mixed", "step")
            if key in trained_card
        }
        | {
            "commit": commit,
            "scores": json.dumps(json.loads(scores)),
        }
    )
    sha256 = save_state(read_state(weights), module.WEIGHTS, card)
    code = Path(str(module.__file__))
    pinned = re.sub(r"WEIGHTS_SHA256 = .*", f'WEIGHTS_SHA256 = "{sha256}"', code.read_text())
    code.write_text(pinned)
    print(module.WEIGHTS, module.WEIGHTS.stat().st_size, sha256)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
