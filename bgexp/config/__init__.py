"""The one typed schema of all settings. A composed config becomes it once and goes no further.

Unknown keys are refused, and a config is data: `_target_` is an unknown key like any other. The
defaults stand in `conf/`; what has one here too is what a library call may leave out.
"""

from bgexp.config.analyze import (
    Analyze,
    AnalyzedFolder,
    AnalyzeSettings,
    ExifField,
    Expected,
    Outliers,
)
from bgexp.config.batch import BatchSettings, Flags, Keep, QualityRules
from bgexp.config.check import check_settings, flattened
from bgexp.config.compare import CompareSettings
from bgexp.config.datasets import Coco, Dataset, Folder, Pairs, Sample
from bgexp.config.detectors import (
    Demo,
    DetectorSettings,
    MaskRcnnResnet50Fpn,
    MaskRcnnResnet50FpnV2,
    ObjectDetectorSettings,
    Rembg,
)
from bgexp.config.promote import PromoteSettings
from bgexp.config.review import ReviewSettings, SelectSettings
from bgexp.config.run import Cache, RunSettings
from bgexp.config.section import Common, OverRuns, Section, Tracked, Tracking
from bgexp.config.stages import (
    Combine,
    Cutout,
    GrabCut,
    GuidedFilter,
    NoRefinement,
    Refine,
    RefineNetwork,
)
from bgexp.config.sweep import OptunaSweep, SweepSettings
from bgexp.config.tools import DoctorSettings, UiSettings
from bgexp.config.train import Composites, TrainLoop, TrainSettings
from bgexp.config.tune import TuneSettings

__all__ = [
    "Analyze",
    "AnalyzeSettings",
    "AnalyzedFolder",
    "BatchSettings",
    "Cache",
    "Coco",
    "Combine",
    "Common",
    "CompareSettings",
    "Composites",
    "Cutout",
    "Dataset",
    "Demo",
    "DetectorSettings",
    "DoctorSettings",
    "ExifField",
    "Expected",
    "Flags",
    "Folder",
    "GrabCut",
    "GuidedFilter",
    "Keep",
    "MaskRcnnResnet50Fpn",
    "MaskRcnnResnet50FpnV2",
    "NoRefinement",
    "ObjectDetectorSettings",
    "OptunaSweep",
    "Outliers",
    "OverRuns",
    "Pairs",
    "PromoteSettings",
    "QualityRules",
    "Refine",
    "RefineNetwork",
    "Rembg",
    "ReviewSettings",
    "RunSettings",
    "Sample",
    "Section",
    "SelectSettings",
    "SweepSettings",
    "Tracked",
    "Tracking",
    "TrainLoop",
    "TrainSettings",
    "TuneSettings",
    "UiSettings",
    "check_settings",
    "flattened",
]
