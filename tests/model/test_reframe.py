from collections.abc import Callable

import pytest
import torch

from stickgen.model import StickFigureTransformer
from stickgen.model.reframe import into_body_frame
from stickgen.motion.skeleton import skeleton_of

Build = Callable[..., StickFigureTransformer]


@pytest.mark.parametrize("dim", [20, 48])
def test_it_begins_as_the_base_was(build: Build, dim: int) -> None:
    skeleton = skeleton_of(dim)
    base = build(causal=True, pose_output="velocity", pose_scale=0.005, input_dim=dim, output_dim=dim)
    joints = torch.randn(6, 3, len(skeleton.joints), 2, generator=torch.Generator().manual_seed(0))
    joints[..., skeleton.joint("pelvis"), 0] = 0
    motion = skeleton.from_joints(joints)
    text = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    made = into_body_frame(base)
    with torch.no_grad():
        before = base(motion, text, return_all_outputs=True)
        after = made(motion, text, return_all_outputs=True)
    ends = [name for segment in skeleton.segments for name in (segment.start, segment.end)]
    copies = before["pose"].unflatten(-1, (-1, 2))
    for place, name in enumerate(ends):
        same = [other for other, end in enumerate(ends) if end == name]
        mean = copies[..., same, :].mean(dim=-2)
        # A foot that is hardly planted holds back a thousandth.
        torch.testing.assert_close(after["pose"].unflatten(-1, (-1, 2))[..., place, :], mean, atol=2e-2, rtol=0)
        torch.testing.assert_close(after["pose"][..., 2 * place + 1], mean[..., 1], atol=1e-5, rtol=0)
    torch.testing.assert_close(after["action_logits"], before["action_logits"], atol=1e-4, rtol=0)
    assert float(after["contact"].max()) < -5.9
    torch.testing.assert_close(after["spread"], torch.full_like(motion, 0.005))


def test_other_bases_are_refused(build: Build) -> None:
    for settings in ({}, {"pose_output": "velocity", "pose_frame": "body"}):
        with pytest.raises(ValueError, match="pose_output=velocity and pose_frame=world expected"):
            into_body_frame(build(**settings))
