"""The captions of the sample, and their embeddings, which are shipped with the package.

The embeddings were computed once (``python -m stickgen.sample.embed_captions``), so that the sample needs no
text encoder.
"""

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor

ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
"""The text encoder behind the shipped embeddings."""

EMBEDDING_WIDTH = 1024
"""Width of every embedding of the data file; narrower encoders are padded with zeros."""

EMBEDDINGS_FILE = "captions.safetensors"

CAPTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "idle": {
        "neutral": (
            "a person stands still",
            "someone is standing and waiting",
            "a person stands upright and breathes calmly",
            "standing idle, shifting weight a little",
        ),
        "tired": (
            "a tired person stands with hanging head and slumped shoulders",
            "someone exhausted stands drooping",
            "a weary person stands slouched, swaying slightly",
            "standing idle, worn out and bent over",
        ),
        "energetic": (
            "an energetic person stands bouncing on their knees",
            "someone full of energy waits, unable to keep still",
            "a lively person stands ready with bent arms",
            "standing idle, upbeat and bouncing",
        ),
        "sneaky": (
            "a sneaky person stands crouched and looks around",
            "someone lurks, bent over with knees flexed",
            "a person hides in a crouch with their hands before their chest",
            "standing idle, stealthily ducked",
        ),
    },
    "walk": {
        "neutral": (
            "a person walks",
            "someone is walking at a normal pace",
            "a person walks forward, swinging their arms",
            "walking at an even pace",
        ),
        "tired": (
            "a tired person walks slowly, dragging their feet",
            "someone exhausted trudges along with hanging head",
            "a weary person shuffles forward with slumped shoulders",
            "walking slowly and heavily, worn out",
        ),
        "energetic": (
            "an energetic person walks briskly with big arm swings",
            "someone full of energy strides along",
            "a lively person walks with a bouncy step, arms pumping",
            "walking fast and upbeat, feet lifted high",
        ),
        "sneaky": (
            "a sneaky person tiptoes in a crouch",
            "someone sneaks forward, lifting their feet high",
            "a person creeps along bent over, hands before their chest",
            "walking stealthily with slow careful steps",
        ),
    },
    "run": {
        "neutral": (
            "a person runs",
            "someone is running at a steady pace",
            "a person jogs forward with bent arms",
            "running evenly",
        ),
        "tired": (
            "a tired person runs heavily with hanging head",
            "someone exhausted struggles to keep running",
            "a weary person jogs with short slow steps, slumped",
            "running worn out, feet hardly lifted",
        ),
        "energetic": (
            "an energetic person runs fast with high heels",
            "someone full of energy sprints along, arms pumping",
            "a lively person runs with long bouncy strides",
            "running fast and powerfully",
        ),
        "sneaky": (
            "a sneaky person runs in a crouch",
            "someone scurries along bent over, keeping low",
            "a person runs stealthily, ducked, with short quick steps",
            "running low, trying not to be seen",
        ),
    },
    "jump": {
        "neutral": (
            "a person jumps",
            "someone is jumping up and landing again",
            "a person crouches and jumps into the air",
            "jumping on both feet",
        ),
        "tired": (
            "a tired person makes a small weak jump",
            "someone exhausted hardly gets off the ground when jumping",
            "a weary person hops listlessly with hanging head",
            "jumping low and heavily, worn out",
        ),
        "energetic": (
            "an energetic person jumps high, throwing up their arms",
            "someone full of energy leaps up powerfully",
            "a lively person makes big bouncy jumps",
            "jumping as high as possible",
        ),
        "sneaky": (
            "a sneaky person hops softly out of a crouch",
            "someone jumps stealthily and lands low",
            "a person ducked low makes a quiet careful jump",
            "jumping quietly, bent over",
        ),
    },
    "wave": {
        "neutral": (
            "a person waves",
            "someone is waving with one hand",
            "a person raises an arm and waves hello",
            "waving in greeting",
        ),
        "tired": (
            "a tired person waves feebly with a low hand",
            "someone exhausted gives a slow weak wave",
            "a weary person hardly lifts their arm to wave, head hanging",
            "waving listlessly, worn out",
        ),
        "energetic": (
            "an energetic person waves wildly with the arm held high",
            "someone full of energy waves in big swings over their head",
            "a lively person greets with a large fast wave",
            "waving enthusiastically",
        ),
        "sneaky": (
            "a sneaky person gives a small hidden wave in a crouch",
            "someone secretly waves with the hand close to their body",
            "a person ducked low waves carefully and slowly",
            "waving stealthily, knees bent",
        ),
    },
    "kick": {
        "neutral": (
            "a person kicks",
            "someone is kicking forward with one leg",
            "a person swings a leg back and kicks",
            "kicking in front of the body",
        ),
        "tired": (
            "a tired person kicks low and slowly",
            "someone exhausted gives a weak kick with hanging head",
            "a weary person hardly lifts their leg to kick",
            "kicking feebly, slumped and worn out",
        ),
        "energetic": (
            "an energetic person kicks high and fast",
            "someone full of energy does a powerful high kick",
            "a lively person swings their leg up in a big kick",
            "kicking with full force",
        ),
        "sneaky": (
            "a sneaky person kicks slowly out of a crouch",
            "someone bent over gives a quiet sly kick",
            "a person ducked low kicks carefully",
            "kicking stealthily, hands before the chest",
        ),
    },
    "sit": {
        "neutral": (
            "a person sits",
            "someone sits on a chair",
            "a person takes a seat",
            "sitting down on a seat or standing up from it",
        ),
        "tired": (
            "a tired person sits slumped on a chair",
            "someone exhausted sits heavily, head hanging",
            "a weary person sits bent over and worn out",
            "sitting slowly, with slumped shoulders",
        ),
        "energetic": (
            "an energetic person sits upright and fidgets",
            "someone full of energy sits quickly, unable to keep still",
            "a lively person sits bouncing on a chair",
            "sitting briskly with a straight back",
        ),
        "sneaky": (
            "a sneaky person sits very slowly and carefully",
            "someone sits stealthily, bent forward with hands before their chest",
            "a person sits quietly, leaning forward and on the watch",
            "sitting quietly, ducked",
        ),
    },
    "punch": {
        "neutral": (
            "a person punches",
            "someone is boxing with both fists in turn",
            "a person throws punches from a guard",
            "punching straight ahead",
        ),
        "tired": (
            "a tired person punches slowly with low fists",
            "someone exhausted throws weak punches, head hanging",
            "a weary boxer can hardly lift their arms to punch",
            "punching feebly, slumped and worn out",
        ),
        "energetic": (
            "an energetic person punches fast and hard",
            "someone full of energy boxes with powerful quick punches",
            "a lively boxer bounces and throws rapid punches",
            "punching with full force",
        ),
        "sneaky": (
            "a sneaky person punches slowly out of a crouch",
            "someone ducked low throws a sly punch",
            "a person bent over jabs carefully and quietly",
            "punching stealthily from below",
        ),
    },
    "clap": {
        "neutral": (
            "a person claps",
            "someone is clapping their hands",
            "a person applauds in front of their chest",
            "clapping both hands together",
        ),
        "tired": (
            "a tired person claps slowly and weakly",
            "someone exhausted claps with low hands, head hanging",
            "a weary person applauds listlessly",
            "clapping feebly, worn out",
        ),
        "energetic": (
            "an energetic person claps fast over their head",
            "someone full of energy applauds with raised arms",
            "a lively person claps wildly above their head",
            "clapping enthusiastically, arms up",
        ),
        "sneaky": (
            "a sneaky person claps slowly in a crouch",
            "someone ducked low claps softly with hands close together",
            "a person with bent knees applauds quietly",
            "clapping stealthily",
        ),
    },
    "dance": {
        "neutral": (
            "a person dances",
            "someone is dancing from side to side",
            "a person steps to the beat, swaying their hips",
            "dancing to music",
        ),
        "tired": (
            "a tired person dances slowly, hardly lifting their feet",
            "someone exhausted sways to the music with low arms",
            "a weary person dances listlessly with hanging head",
            "dancing slowly, worn out",
        ),
        "energetic": (
            "an energetic person dances wildly with raised arms",
            "someone full of energy dances fast with big swings",
            "a lively person dances, stepping high and bouncing",
            "dancing with great energy",
        ),
        "sneaky": (
            "a sneaky person dances slowly in a crouch",
            "someone with bent knees dances softly, lifting their feet high",
            "a person ducked low dances stealthily",
            "dancing quietly on bent knees",
        ),
    },
}
"""The captions by action and style: paraphrases, of which each clip gets one."""


def all_captions() -> list[str]:
    """Return every caption, in the order of the rows of the shipped embeddings."""
    return [caption for styles in CAPTIONS.values() for captions in styles.values() for caption in captions]


def captions_hash() -> str:
    """Return the SHA-256 of all captions, by which the shipped embeddings are known to belong to them."""
    return hashlib.sha256("\n".join(all_captions()).encode()).hexdigest()


def encoder_record() -> dict[str, Any]:
    """Return the record of the text encoder behind the shipped embeddings, as data files carry it."""
    return {"id": ENCODER, "dim": 384, "padded_to": EMBEDDING_WIDTH, "normalized": True, "pooling": "mean"}


@cache
def caption_embeddings() -> dict[str, Tensor]:
    """Return the embedding, float32 ``[1024]``, of every caption. Do not write into the tensors."""
    stored = load(files("stickgen.sample").joinpath(EMBEDDINGS_FILE).read_bytes())["embeddings"].float()
    # Half precision moves the length of a vector by some 1e-4; the encoder's are exactly 1 long.
    stored = torch.nn.functional.normalize(stored, dim=-1)
    padded = torch.nn.functional.pad(stored, (0, EMBEDDING_WIDTH - stored.shape[-1]))
    return dict(zip(all_captions(), padded, strict=True))
