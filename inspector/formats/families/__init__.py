"""The quantization families, a module or package each. They do not know each other; the build checks it.

Adding one is its module here, its line in FAMILIES, and its fixture test (docs/formats.md).
"""

from qinspect.inspector.formats.contract import Format
from qinspect.inspector.formats.families.adapter import AdapterFormat
from qinspect.inspector.formats.families.aqlm import AqlmFormat
from qinspect.inspector.formats.families.awq import AwqFormat
from qinspect.inspector.formats.families.bitnet import BitNetFormat
from qinspect.inspector.formats.families.bitsandbytes import BitsAndBytesFormat
from qinspect.inspector.formats.families.comfy import ComfyFormat
from qinspect.inspector.formats.families.compressed_tensors import CompressedTensorsFormat
from qinspect.inspector.formats.families.exl3 import Exl3Format
from qinspect.inspector.formats.families.fouroversix import FourOverSixFormat
from qinspect.inspector.formats.families.fp8 import Fp8Format
from qinspect.inspector.formats.families.gguf import GgufFormat
from qinspect.inspector.formats.families.gguf.imatrix import ImportanceMatrix
from qinspect.inspector.formats.families.gguf.in_safetensors import GgufInSafetensors
from qinspect.inspector.formats.families.gptq import GptqFormat
from qinspect.inspector.formats.families.hqq import HqqFormat
from qinspect.inspector.formats.families.mlx import MlxFormat
from qinspect.inspector.formats.families.modelopt import ModelOptFormat
from qinspect.inspector.formats.families.mxfp4 import Mxfp4Format
from qinspect.inspector.formats.families.native import NativeFormat
from qinspect.inspector.formats.families.onnx import OnnxFormat
from qinspect.inspector.formats.families.plain import PlainFormat
from qinspect.inspector.formats.families.quamba import QuambaFormat
from qinspect.inspector.formats.families.quanto import QuantoFormat
from qinspect.inspector.formats.families.quark import QuarkFormat
from qinspect.inspector.formats.families.sinq import SinqFormat
from qinspect.inspector.formats.families.textual_inversion import TextualInversion
from qinspect.inspector.formats.families.torch_quantized import TorchQuantizedFormat
from qinspect.inspector.formats.families.torchao import TorchaoFormat

FAMILIES: tuple[type[Format], ...] = (
    NativeFormat,
    TorchQuantizedFormat,
    QuambaFormat,
    ImportanceMatrix,
    GgufFormat,
    GgufInSafetensors,
    OnnxFormat,
    ComfyFormat,
    ModelOptFormat,
    CompressedTensorsFormat,
    GptqFormat,
    AwqFormat,
    Exl3Format,
    Fp8Format,
    MlxFormat,
    Mxfp4Format,
    BitsAndBytesFormat,
    TorchaoFormat,
    QuarkFormat,
    FourOverSixFormat,
    BitNetFormat,
    SinqFormat,
    HqqFormat,
    AqlmFormat,
    QuantoFormat,
    AdapterFormat,
    TextualInversion,
)
"""In the order of asking: the first that recognises a checkpoint gets it."""

FALLBACK = PlainFormat
"""What takes the checkpoints that no family claims, with what kept those from it that did."""
