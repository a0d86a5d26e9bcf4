"""Texts that tell a latent denoiser what to undo, and their vectors: from a table of our own or from a text encoder.

`PROMPTS` are the SANA-Denoiser's by the names of tasks, `WHOLE_PROMPTS` those for several or unknown degradations,
`REALRESTORER_PROMPTS` the nine that RealRestorer was trained with. A `PromptTable` holds vectors of a fixed set of texts: it is
learned beside a network, or written once by a text encoder, which then is not needed to restore.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

PROMPTS: Mapping[str, tuple[str, ...]] = {
    "denoise": ("Remove gaussian noise, restore sharp details",),
    "jpeg": ("Remove JPEG compression artifacts", "Remove JPEG compression artifacts, restore sharp details"),
    "deblur": ("Remove blur, restore sharpness",),
    "resize": ("Upscale and restore details",),
    "low_light": ("Enhance this low-light image", "Enhance low-light image, recover shadows"),
}
"""Wordings of the SANA-Denoiser by task; "resize" is low resolution at full size."""

WHOLE_PROMPTS = (
    "Restore this degraded image",
    "Clean and restore this image",
    "Restore this image to high quality",
)
"""Wordings for several degradations, or unknown ones."""

REALRESTORER_PROMPTS: Mapping[str, str] = {
    "deblur": "Please deblur the image and make it sharper",
    "jpeg": "Please restore the image clarity and artifacts.",
    "demoire": "Please remove the moiré patterns from the image",
    "low_light": "Please restore this low-quality image, recovering its normal brightness and clarity.",
    "denoise": "Please remove noise from the image.",
    "deflare": "Please remove the lens flare and glare from the image.",
    "dereflect": "Please remove the reflection from the image.",
    "dehaze": "Please dehaze the image",
    "derain": "Please remove the rain from the image and restore its clarity.",
}
"""The fixed prompts that RealRestorer was trained with, by task."""

TOKENS = 300
"""How many vectors of a text SANA takes."""


def wordings(tasks: Sequence[str]) -> tuple[str, ...]:
    """What may be said to undo the tasks: the wordings of one, or those for several or unknown ones.

    A task without wordings of the SANA-Denoiser has RealRestorer's, or else those for unknown degradations.
    """
    if len(tasks) == 1 and tasks[0] in PROMPTS:
        return PROMPTS[tasks[0]]
    if len(tasks) == 1 and tasks[0] in REALRESTORER_PROMPTS:
        return (REALRESTORER_PROMPTS[tasks[0]],)
    return WHOLE_PROMPTS


def draw_prompt(tasks: Sequence[str], generator: torch.Generator) -> str:
    """One of the wordings at random, so that a network does not tie itself to fixed texts."""
    choices = wordings(tasks)
    return choices[int(torch.randint(len(choices), (), generator=generator))]


def level_prompt(*, sigma: float | None = None, quality: int | None = None) -> str:
    """The wording for a known level: the sigma of Gaussian noise (of 255), or the quality of a JPEG.

    Raises:
        ValueError: not exactly one of them is given.
    """
    if (sigma is None) == (quality is None):
        raise ValueError("expected either sigma or quality")
    return f"Remove gaussian noise sigma {sigma:g}" if sigma is not None else f"Remove JPEG artifacts quality {quality}"


def all_prompts() -> tuple[str, ...]:
    """Every wording once, those with a level excepted."""
    every = [text for texts in PROMPTS.values() for text in texts]
    return tuple(dict.fromkeys([*every, *WHOLE_PROMPTS, *REALRESTORER_PROMPTS.values()]))


class Tokenizer(Protocol):
    """A tokenizer of `transformers`, as far as it is needed here."""

    def __call__(self, text: list[str], **options: Any) -> Any:
        """`input_ids` and `attention_mask` of texts."""
        ...


@torch.no_grad()
def encode_text(
    prompts: str | Sequence[str], tokenizer: Tokenizer, encoder: nn.Module, *, tokens: int = TOKENS
) -> tuple[Tensor, Tensor]:
    """Vectors of texts by an encoder of `transformers` (extra `text`).

    SANA's is the decoder of Gemma-2-2b-it, whose last hidden states are taken: `AutoModelForCausalLM.from_pretrained(folder)
    .get_decoder()`, with the tokenizer of the same folder.

    Args:
        prompts: one text, or b.
        tokenizer: its tokenizer.
        encoder: gives `last_hidden_state` for `input_ids` and `attention_mask`.
        tokens: most vectors of a text; what is longer is cut, what is shorter is filled up.

    Returns:
        The vectors (b, tokens, d), of the encoder's type, and which of them count, (b, tokens), 1 or 0.

    Raises:
        ValueError: there is no text.
    """
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not texts:
        raise ValueError("expected at least one text")
    device = next(encoder.parameters()).device
    told = tokenizer(texts, padding="max_length", max_length=tokens, truncation=True, return_tensors="pt")
    ids, mask = told["input_ids"].to(device), told["attention_mask"].to(device)
    return encoder(input_ids=ids, attention_mask=mask).last_hidden_state, mask


class PromptTable(nn.Module):
    """Vectors of a fixed set of texts.

    Args:
        prompts: the texts, or names of degradations.
        features: of a vector.
        tokens: vectors of each text.
        learned: trained with the network; False for vectors that an encoder gave.

    Shapes: one text or b -> vectors (b, tokens, features), and which of them count, (b, tokens).

    Raises:
        ValueError: there are no texts, or one twice; in `forward`, there are none, or one is not in the table.
    """

    mask: Tensor

    def __init__(self, prompts: Sequence[str], features: int, tokens: int = 1, *, learned: bool = True) -> None:
        super().__init__()
        if not prompts or isinstance(prompts, str) or len(set(prompts)) < len(prompts):
            raise ValueError(f"expected different texts, got {prompts!r}")
        self.prompts = tuple(prompts)
        self.weight = nn.Parameter(torch.randn(len(prompts), tokens, features), requires_grad=learned)
        self.register_buffer("mask", torch.ones(len(prompts), tokens))

    def forward(self, prompts: str | Sequence[str]) -> tuple[Tensor, Tensor]:
        wanted = [prompts] if isinstance(prompts, str) else list(prompts)
        if not wanted:
            raise ValueError("expected at least one text")
        for text in wanted:
            if text not in self.prompts:
                raise ValueError(f"the table has no vectors for {text!r}; choose from {', '.join(map(repr, self.prompts))}")
        places = torch.tensor([self.prompts.index(text) for text in wanted], device=self.weight.device)
        return self.weight[places], self.mask[places]

    @classmethod
    def encoded(cls, prompts: Sequence[str], tokenizer: Tokenizer, encoder: nn.Module, *, tokens: int = TOKENS) -> PromptTable:
        """The table of what a text encoder gives, without the vectors that fill up all texts."""
        vectors, mask = encode_text(prompts, tokenizer, encoder, tokens=tokens)
        counts = mask.bool().any(0)
        vectors, mask = vectors[:, counts].float(), mask[:, counts].float()
        table = cls(prompts, vectors.shape[2], vectors.shape[1], learned=False).to(vectors.device)
        with torch.no_grad():
            table.weight.copy_(vectors)
        table.mask.copy_(mask)
        return table

    def save(self, path: Path) -> None:
        """Write the table as a `.safetensors` file."""
        state = {key: value.detach().cpu().contiguous() for key, value in self.state_dict().items()}
        save_file(state, path, metadata={"prompts": json.dumps(self.prompts)})

    @classmethod
    def load(cls, path: Path) -> PromptTable:
        """The table of a file that `save` wrote.

        Raises:
            ValueError: the file is another.
        """
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if "prompts" not in metadata or set(file.keys()) != {"weight", "mask"}:
                raise ValueError(f"{path} holds no table of prompts")
            state = {key: file.get_tensor(key) for key in ("weight", "mask")}
        prompts = json.loads(metadata["prompts"])
        table = cls(prompts, state["weight"].shape[2], state["weight"].shape[1])
        table.load_state_dict(state)
        return table
