"""Which adapters a prompt asks for."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from stickgen.errors import AdapterError


def route(
    prompt: Tensor, prototypes: Mapping[str, Tensor], *, temperature: float = 0.05, floor: float = 0.1
) -> dict[str, float]:
    """Return weights of adapters by how close a prompt is to prompts that stand for each of them.

    An adapter's similarity is the largest cosine between the prompt and one of its prototypes; the weights are the
    softmax of similarity / temperature. Weights below the floor are left out, and the others scaled to sum to one.

    Args:
        prompt: embedding ``[E]``.
        prototypes: by adapter, embeddings ``[n, E]`` of its prototype prompts, in the same text encoder.
        temperature: how decided the choice is: near 0, the closest adapter alone.
        floor: the least weight worth a place in the sum; the largest always has one.

    Returns:
        weights above 0 that sum to one, the largest first; see :meth:`~stickgen.lora.NamedAdapters.use`.

    Raises:
        AdapterError: there are no prototypes, their width is not the prompt's, an embedding is zero or not finite, or
            temperature or floor is out of its range.
    """
    if not (temperature > 0 and 0 <= floor < 1):
        raise AdapterError(f"temperature={temperature:g}, floor={floor:g}: above 0, and from 0 to below 1 expected")
    if not prototypes:
        raise AdapterError("prototypes: no adapter given to choose from")
    similarities = []
    for name, embeddings in prototypes.items():
        if embeddings.ndim != 2 or not len(embeddings) or embeddings.shape[1:] != prompt.shape:
            shapes = f"[n, {len(prompt)}] expected, {list(embeddings.shape)} found"
            raise AdapterError(f"prototypes of {name}: {shapes}")
        both = torch.cat((prompt[None], embeddings)).double()
        if not bool((torch.isfinite(both).all(dim=1) & both.any(dim=1)).all()):
            raise AdapterError(f"prototypes of {name}, or the prompt: an embedding is zero, NaN or infinite")
        similarities.append(F.cosine_similarity(both[:1], both[1:]).max())
    weights = torch.softmax(torch.stack(similarities) / temperature, dim=0)
    kept = torch.where((weights >= floor) | (weights == weights.max()), weights, 0.0)
    kept = kept / kept.sum()
    pairs = zip(prototypes, kept.tolist(), strict=True)
    return dict(sorted((pair for pair in pairs if pair[1] > 0), key=lambda pair: -pair[1]))
