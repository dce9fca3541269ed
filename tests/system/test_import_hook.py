import subprocess
import sys

SEEN = """
import sys
import bgexp
from torchvision.ops import roi_align
assert "torch._dynamo.utils" not in sys.modules
import torch
torch.manual_seed(0)
print(roi_align(torch.rand(1, 2, 8, 8), torch.tensor([[0, 1.0, 1, 5, 6]]), 2).flatten().tolist())
asking = sys.modules["torchvision.ops.roi_align"]
assert asking.is_compile_supported("cpu") is True
assert sys.modules["torch._dynamo.utils"].is_compile_supported is not asking.is_compile_supported
"""


def run_code(code):
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return process.stdout


def test_torchvision_works_and_the_compiler_comes_when_it_is_asked():
    whole = run_code(
        "from torchvision.ops import roi_align; import torch; torch.manual_seed(0);"
        "print(roi_align(torch.rand(1, 2, 8, 8), torch.tensor([[0, 1.0, 1, 5, 6]]), 2)"
        ".flatten().tolist())"
    )
    assert run_code(SEEN) == whole


def test_a_torchvision_that_takes_more_gets_it():
    assert (
        run_code(
            "import bgexp.system.import_hook as lean; lean._FUNCTION = 'another';"
            "import sys, torchvision; print('torch._dynamo.utils' in sys.modules)"
        )
        == "True\n"
    )


def test_where_the_compiler_is_there_nothing_is_changed():
    assert (
        run_code(
            "import torch._dynamo.utils as real; import bgexp, sys, torchvision;"
            "taker = sys.modules['torchvision.ops.roi_align'];"
            "print(taker.is_compile_supported is real.is_compile_supported)"
        )
        == "True\n"
    )
