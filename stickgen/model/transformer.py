"""StickFigureTransformer, key for key the reference system's model."""

from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from stickgen.dropout import Dropout
from stickgen.model.body_frame import BodyFrame, Steer
from stickgen.model.cache import KeyValueCache
from stickgen.model.code_bank import CodeBank
from stickgen.model.layers import Encoder, SelfAttention
from stickgen.model.settings_check import carry_settings

PoseOutput = Literal["absolute", "residual", "velocity"]

POSE_OUTPUTS: tuple[str, ...] = get_args(PoseOutput)
"""What the pose head's numbers mean; see :class:`StickFigureTransformer`."""

PoseFrame = Literal["world", "body"]

POSE_FRAMES: tuple[str, ...] = get_args(PoseFrame)
"""What frames are read and moved in; see :class:`StickFigureTransformer`."""

ACTION_EMBEDDING_DIM = 64
ENVIRONMENT_DIM = 32
PHYSICS_DIM = 6


class StickFigureTransformer(nn.Module):
    """Transformer encoder that reads a caption's embedding and motion frames and predicts a pose for every frame.

    Args:
        input_dim: numbers of an input frame, D (20 or 48).
        d_model: width d of the hidden states.
        nhead: attention heads; must divide ``d_model`` into even head sizes.
        num_layers: encoder layers.
        output_dim: numbers of a predicted pose.
        embedding_dim: width E of the text embedding.
        dropout: dropout probability throughout, in training mode.
        num_actions: action classes, and rows of the action embedding.
        causal: whether a frame sees only itself, earlier frames and the text. The reference's checkpoints are not
            causal; a model that is to predict the next frame, or to generate, must be.
        pose_output: what the pose head gives, for input frames x and head output h:
            ``"absolute"``: ``h[t]`` (the reference); ``"residual"``: ``x[t] + pose_scale · h[t]``;
            ``"velocity"``: ``x[t] + (x[t] − x[t−1]) + pose_scale · h[t]``, with ``x[−1] = x[0]``. The latter two
            start from the baselines "repeat the last frame" and "constant velocity".
        pose_scale: size of the correction that a head output of one stands for.
        pose_frame: ``"world"`` (the reference): the first layer reads frames as they are, and the head moves every
            number by itself. ``"body"``: joints about the pelvis, velocities and foot contact
            (:class:`~stickgen.model.body_frame.BodyFrame`); needs ``pose_output="velocity"``.
        velocity_kept: with ``pose_frame="body"``, the share of the last displacement that goes on by itself, from 0
            to 1. Below one, an error of velocity dies away; at one, errors add up.
        motion_code: whether the last numbers of the text embedding describe the motion
            (:mod:`~stickgen.model.motion_code`). Nothing is computed differently; who makes the embedding has to know.

    Raises:
        ValueError: a setting is impossible.

    ``load_state_dict`` refuses weights that were saved with other settings (:mod:`stickgen.model.settings_check`).
    """

    def __init__(
        self,
        input_dim: int = 20,
        d_model: int = 384,
        nhead: int = 12,
        num_layers: int = 8,
        output_dim: int = 20,
        embedding_dim: int = 1024,
        dropout: float = 0.1,
        num_actions: int = 64,
        *,
        causal: bool = False,
        pose_output: PoseOutput = "absolute",
        pose_scale: float = 1.0,
        pose_frame: PoseFrame = "world",
        velocity_kept: float = 1.0,
        pose_pull: float = 0.0,
        motion_code: bool = False,
    ) -> None:
        super().__init__()
        if d_model % nhead or d_model // nhead % 2:
            raise ValueError(f"nhead={nhead} does not divide d_model={d_model} into heads of even size")
        if pose_output not in POSE_OUTPUTS:
            raise ValueError(f"pose_output={pose_output!r}: one of {', '.join(POSE_OUTPUTS)} expected")
        if pose_output != "absolute" and input_dim != output_dim:
            raise ValueError(f"pose_output={pose_output}: needs input_dim={input_dim} equal to output_dim={output_dim}")
        if pose_frame not in POSE_FRAMES:
            raise ValueError(f"pose_frame={pose_frame!r}: one of {', '.join(POSE_FRAMES)} expected")
        if pose_frame == "body" and pose_output != "velocity":
            raise ValueError(f"pose_frame=body: needs pose_output=velocity, not {pose_output}")
        if not 0 <= velocity_kept <= 1 or (velocity_kept != 1 and pose_frame != "body"):
            raise ValueError(f"velocity_kept={velocity_kept}: 0 to 1 expected, below 1 only with pose_frame=body")
        self.settings: dict[str, Any] = {
            "input_dim": input_dim,
            "d_model": d_model,
            "nhead": nhead,
            "num_layers": num_layers,
            "output_dim": output_dim,
            "embedding_dim": embedding_dim,
            "dropout": dropout,
            "num_actions": num_actions,
            "causal": causal,
            "pose_output": pose_output,
            "pose_scale": pose_scale,
            "pose_frame": pose_frame,
            "velocity_kept": velocity_kept,
            "pose_pull": pose_pull,
            "motion_code": motion_code,
        }
        """The constructor's arguments: with them and the state dict, the model can be built again."""
        self.causal = causal
        self.pose_output = pose_output
        self.pose_scale = pose_scale
        self.code_bank: CodeBank | None = None
        """Codes that generation draws from; not part of the state dict."""
        self.body_frame = BodyFrame(input_dim, velocity_kept, pose_scale, pose_pull) if pose_frame == "body" else None

        d = d_model
        self.text_projection = nn.Sequential(
            nn.Linear(embedding_dim, 2 * d),
            nn.GELU(),
            Dropout(dropout),
            nn.Linear(2 * d, d),
            nn.LayerNorm(d),
            Dropout(dropout),
        )
        self.motion_embedding = _frame_projection(input_dim, d // 2, d, dropout)
        self.action_embedding = nn.Embedding(num_actions, ACTION_EMBEDDING_DIM)
        self.action_projection = nn.Sequential(nn.Linear(ACTION_EMBEDDING_DIM, d), nn.LayerNorm(d), Dropout(dropout))
        self.camera_projection = _frame_projection(3, d // 4, d, dropout)
        self.partner_projection = _frame_projection(input_dim, d // 2, d, dropout)
        self.transformer_encoder = Encoder(d, nhead, num_layers, dropout)
        self.pose_decoder = _decoder(d, d // 2, output_dim, dropout)
        self.position_decoder = _decoder(d, d // 4, 2, dropout)
        self.velocity_decoder = _decoder(d, d // 4, 2, dropout)
        self.action_predictor = _decoder(d, d // 2, num_actions, dropout)
        self.physics_decoder = _decoder(d, d // 2, PHYSICS_DIM, dropout)
        self.environment_decoder = _decoder(d, d // 2, ENVIRONMENT_DIM, dropout)
        carry_settings(self)

    def forward(
        self,
        motion: Tensor,
        text_embedding: Tensor,
        return_all_outputs: bool = False,
        action_sequence: Tensor | None = None,
        camera_data: Tensor | None = None,
        partner_motion: Tensor | None = None,
        *,
        padding_mask: Tensor | None = None,
        causal: bool | None = None,
        cache: KeyValueCache | None = None,
        noise: Tensor | None = None,
        steer: Steer | None = None,
        below: tuple[int, Tensor] | None = None,
    ) -> Tensor | dict[str, Tensor]:
        """Predict a pose, and with ``return_all_outputs`` everything else, for every frame.

        With a ``cache``, calls add up: the frames of each follow those of the calls before, outputs are those of the
        new frames (means are over all so far), and the text is read by the first call alone.

        Args:
            motion: frames ``[T, B, D]``.
            text_embedding: ``[B, E]``.
            return_all_outputs: return a dict of all heads instead of the pose alone.
            action_sequence: int64 ``[T, B]``; leave it out where the action is to be predicted.
            camera_data: ``[T, B, 3]``: x, y, zoom.
            partner_motion: ``[T, B, D]``.
            padding_mask: bool ``[B, T]``, True where a frame is padding; padding follows a clip's real frames. It
                changes nothing at real frames, nor the means over frames.
            causal: overrides the model's own setting.
            cache: of the frames before these; starts empty and is filled in place. Causal passes only, without
                gradients, all clips with equally many frames.
            noise: normal numbers ``[T, B, D]``: the pose is then a draw of the next frame instead of its mean. Only
                with ``pose_frame="body"``, which predicts how far from the mean it may be.
            steer: what is done to the figures' displacements, ``[T, B, …]``; likewise.
            below: how many of the encoder's first layers to leave out, and what :meth:`hidden_below` returned for them
                and the same input. Not with a ``cache``.

        Returns:
            pose ``[T, B, output_dim]``, or a dict of ``pose``, ``position [B, 2]``, ``velocity [B, 2]``,
            ``action_logits [T, B, num_actions]``, ``physics [T, B, 6]`` and ``environment [B, 32]``. With
            ``pose_frame="body"`` also ``contact [T, B, 2]``, logits of the left and the right foot being planted
            until the next frame, and ``spread [T, B, D]``, standard deviations of the pose's numbers.

        Raises:
            ValueError: ``padding_mask`` marks a frame before a real one in a causal pass, or leaves a clip empty; a
                ``cache`` is given to a pass that is not causal, has a padding mask or keeps gradients.
        """
        causal = self.causal if causal is None else causal
        if self.body_frame is None and not (noise is None and steer is None):
            raise ValueError("noise, steer: are for bases with pose_frame=body")
        if cache is not None:
            _check_cached(causal, padding_mask)
        if padding_mask is not None:
            _check_padding(padding_mask, causal)
        x = _batch_first(motion, padding_mask)
        previous = None if cache is None else cache.last_frame
        before = torch.cat((x[:, :1] if previous is None else previous, x[:, :-1]), dim=1)
        first = 0
        if below is None:
            text = text_embedding if previous is None else None
            tokens = self._tokens(x, before, text, action_sequence, camera_data, partner_motion, padding_mask)
        else:
            first, tokens = below
        visible = _visible_keys(padding_mask, causal)
        lengths = self._lengths(padding_mask, causal)
        hidden = self.transformer_encoder(tokens, visible, causal, cache, first=first, lengths=lengths)
        hidden = hidden[:, -x.shape[1] :]
        if cache is not None:
            cache.remember(x, hidden)

        with torch.autocast(x.device.type, enabled=False):
            head = self.pose_decoder(hidden)
            pose = self._pose(head, x, before, noise, steer).transpose(0, 1)
            if not return_all_outputs:
                return pose
            pooled = _mean_over_frames(hidden, padding_mask) if cache is None else cache.mean_hidden()
            of_body = {}
            if self.body_frame is not None:
                of_body["contact"] = self.body_frame.contact(head).transpose(0, 1)
                of_body["spread"] = self.body_frame.spread(head).transpose(0, 1)
            return {
                "pose": pose,
                "position": self.position_decoder(pooled),
                "velocity": self.velocity_decoder(pooled),
                "action_logits": self.action_predictor(hidden).transpose(0, 1),
                "physics": self.physics_decoder(hidden).transpose(0, 1),
                "environment": self.environment_decoder(pooled),
                **of_body,
            }

    def hidden_below(
        self,
        layer: int,
        motion: Tensor,
        text_embedding: Tensor,
        *,
        camera_data: Tensor | None = None,
        partner_motion: Tensor | None = None,
        padding_mask: Tensor | None = None,
        causal: bool | None = None,
    ) -> Tensor:
        """Return what an encoder layer reads, ``[B, T + 1, d]``: the text's position, then the frames'.

        Where everything below that layer is frozen, this never changes for the same input, and :meth:`forward` takes it
        as ``below``. Rows of padding are arbitrary.

        Args:
            layer: number of the layer, from 0; the number of layers stands for what the decoders read.
            motion: see :meth:`forward`, as for the others.
            text_embedding: likewise.
            camera_data: likewise.
            partner_motion: likewise.
            padding_mask: likewise.
            causal: likewise.
        """
        causal = self.causal if causal is None else causal
        if padding_mask is not None:
            _check_padding(padding_mask, causal)
        x = _batch_first(motion, padding_mask)
        before = torch.cat((x[:, :1], x[:, :-1]), dim=1)
        tokens = self._tokens(x, before, text_embedding, None, camera_data, partner_motion, padding_mask)
        visible = _visible_keys(padding_mask, causal)
        lengths = self._lengths(padding_mask, causal)
        return cast("Tensor", self.transformer_encoder(tokens, visible, causal, end=layer, lengths=lengths))

    @property
    def leaves_to_chance(self) -> bool:
        """Whether there is something for a seed to draw: motion codes, or how frames depart from their mean."""
        return self.code_bank is not None or self.body_frame is not None

    def set_encoder_dtype(self, dtype: torch.dtype) -> None:
        """Store the encoder's weight matrices in ``dtype``, and compute its products in it.

        Adapters, norms, the sum that the layers add to, embeddings and decoders keep their precision.
        """
        for name, parameter in self.transformer_encoder.named_parameters():
            if not parameter.requires_grad and name.endswith((".weight", ".bias")) and "norm" not in name:
                parameter.data = parameter.data.to(dtype)

    def set_dropout(self, probability: float) -> None:
        """Change the dropout probability throughout, as if the model had been built with it."""
        self.settings["dropout"] = probability
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = probability
            elif isinstance(module, SelfAttention):
                module.dropout = probability

    def read_frames(self, frames: Tensor, before: Tensor) -> Tensor:
        """Return what the first layer reads of ``frames [..., D]``, ``before`` being the frame before each."""
        return frames if self.body_frame is None else self.body_frame.read(frames, before)

    def _tokens(
        self,
        x: Tensor,
        before: Tensor,
        text_embedding: Tensor | None,
        action_sequence: Tensor | None,
        camera_data: Tensor | None,
        partner_motion: Tensor | None,
        padding_mask: Tensor | None,
    ) -> Tensor:
        """Return the embedded frames ``[B, T, d]`` of ``x [B, T, D]`` and what is given beside it, after the text's."""
        # Half precision is for the encoder: in bfloat16 a pose is known to 0.004 of its size, a frame's whole movement.
        with torch.autocast(x.device.type, enabled=False):
            tokens = self.motion_embedding(self.read_frames(x, before))
            if action_sequence is not None:
                actions = self.action_embedding(_batch_first(action_sequence, padding_mask))
                tokens = tokens + self.action_projection(actions)
            if camera_data is not None:
                tokens = tokens + self.camera_projection(_batch_first(camera_data, padding_mask))
            if partner_motion is not None:
                tokens = tokens + self.partner_projection(_batch_first(partner_motion, padding_mask))
            if text_embedding is not None:
                tokens = torch.cat((self.text_projection(text_embedding).unsqueeze(1), tokens), dim=1)
        return cast("Tensor", tokens)

    def _lengths(self, padding_mask: Tensor | None, causal: bool) -> list[int] | None:
        """Return the positions of each clip, the text's with them, where the encoder is to leave out padding.

        In causal passes, where it follows the real frames. On a CPU: a GPU would be asked for the lengths, and given
        many small copies. Only while training, since adapters of single clips (``lora/per_clip.py``) need to know which
        clip a position belongs to.
        """
        if padding_mask is None or not causal or not self.training or padding_mask.device.type != "cpu":
            return None
        lengths: list[int] = (~padding_mask).sum(dim=1).add(1).tolist()
        return None if min(lengths) > padding_mask.shape[1] else lengths

    def _pose(self, head: Tensor, x: Tensor, before: Tensor, noise: Tensor | None, steer: Steer | None) -> Tensor:
        """Turn the pose head's output into poses ``[B, T, D]``.

        Args:
            head: the output ``[B, T, D]``.
            x: the input frames ``[B, T, D]``.
            before: the frame before each.
            noise: see :meth:`forward`.
            steer: see :meth:`forward`.
        """
        if self.body_frame is not None:
            noise = None if noise is None else noise.transpose(0, 1)
            return self.body_frame.move(x, before, head, noise, None if steer is None else steer.transposed())
        if self.pose_output == "absolute":
            return head
        pose = x + self.pose_scale * head
        return pose + (x - before) if self.pose_output == "velocity" else pose


def _frame_projection(width: int, hidden: int, d_model: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, d_model), nn.LayerNorm(d_model), Dropout(dropout)
    )


def _decoder(d_model: int, hidden: int, width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(d_model, hidden), nn.GELU(), Dropout(dropout), nn.Linear(hidden, width))


def _check_padding(padding_mask: Tensor, causal: bool) -> None:
    if bool(padding_mask.all(dim=1).any()):
        raise ValueError("padding_mask: a clip has no real frame")
    if causal and bool((padding_mask[:, :-1] & ~padding_mask[:, 1:]).any()):
        raise ValueError("padding_mask: padding must follow a clip's real frames in a causal pass")


def _check_cached(causal: bool, padding_mask: Tensor | None) -> None:
    if not causal:
        raise ValueError(
            "cache: later frames would change what a bidirectional pass has kept; only causal ones have one"
        )
    if padding_mask is not None:
        raise ValueError("cache: does not go with padding_mask; its clips have equally many frames")
    if torch.is_grad_enabled():
        raise ValueError("cache: is written in place and has no gradient; call the model under torch.no_grad()")


def _batch_first(track: Tensor, padding_mask: Tensor | None) -> Tensor:
    """Return a track ``[T, B, …]`` as ``[B, T, …]``, zero in the padding.

    Padding may hold anything, and what is masked later still counts where it is infinite: 0 · inf is NaN.
    """
    track = track.transpose(0, 1)
    if padding_mask is None:
        return track
    return track.masked_fill(padding_mask.reshape(*padding_mask.shape, *[1] * (track.ndim - 2)), 0)


def _visible_keys(padding_mask: Tensor | None, causal: bool) -> Tensor | None:
    """Return bool ``[B, 1, 1, T + 1]``: the text token and the real frames; None where no mask is needed."""
    # Padding follows the real frames, so a causal pass never sees it and needs no mask, only the faster kernel.
    if causal or padding_mask is None:
        return None
    text = torch.ones_like(padding_mask[:, :1])
    return torch.cat((text, ~padding_mask), dim=1)[:, None, None, :]


def _mean_over_frames(hidden: Tensor, padding_mask: Tensor | None) -> Tensor:
    if padding_mask is None:
        return hidden.mean(dim=1)
    real = (~padding_mask).unsqueeze(-1).to(hidden.dtype)
    return (hidden * real).sum(dim=1) / real.sum(dim=1)
