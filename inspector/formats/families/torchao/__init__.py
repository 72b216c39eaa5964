"""torchao: weights that are objects of tensor classes, each a few plain tensors under the names of its attributes.

described.py finds the parts of a weight, and what the file says of it, in safetensors and in pickles; building.py says
what the parts are by their class, or by their types and shapes; weights.py reads them, kernel_order.py those of 4 bits
that lie as a CPU's kernel wants them; family.py goes through the weights. docs/formats.md has the layouts.
"""

from qinspect.inspector.formats.families.torchao.family import TorchaoFormat

__all__ = ["TorchaoFormat"]
