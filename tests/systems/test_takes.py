"""What `model` may hold: each wrong value is refused on the meta device, by the key that was typed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gansweep.assemble import check
from gansweep.config.settings import Settings
from gansweep.errors import UserError

Compose = Callable[..., Settings]
MODELS = ("vae", "vaegan", "dcgan", "wgan_gp")
PARTS = {
    "vae": [""],
    "vaegan": ["encoder.", "decoder.", "discriminator."],
    "dcgan": ["generator.", "discriminator."],
    "wgan_gp": ["generator.", "discriminator."],
}

WRONG = [
    ("vaegan", "model.clip=-1", "model.clip=-1: must be a number greater than 0"),
    ("vaegan", "model.clip=0", "model.clip=0: must be a number greater than 0"),
    ("vaegan", "model.clip=abc", "model.clip=abc: must be a number greater than 0"),
    ("vaegan", "model.clip=nan", "model.clip=nan: must be a number greater than 0"),
    ("vaegan", "model.knobs.huber_delta=0", "model.knobs.huber_delta=0: must be greater than 0"),
    ("vae", "model.knobs.huber_delta=-2", "model.knobs.huber_delta=-2: must be greater than 0"),
    (
        "vae",
        "schedule.curves.knobs.huber_delta={kind:warmup,steps:10}",
        "schedule.curves: knobs.huber_delta is 0 at step 0: must be greater than 0",
    ),
    ("vaegan", "model.discriminator.head=[0]", "model.discriminator.head[0]=0: must be a whole number, at least 1"),
    ("vaegan", "model.discriminator.head=8", "model.discriminator.head=8: must be a list"),
    ("vaegan", "model.discriminator.blocks=[{channels:8}]", "model.discriminator.blocks[0].convs: missing"),
    ("vaegan", "model.discriminator.blocks=[]", "model.discriminator.blocks=[]: must be a list of at least 1"),
    ("vaegan", "model.discriminator.feature_block=two", "model.discriminator.feature_block=two: must be a whole"),
    ("vaegan", "model.discriminator.joint_batch=maybe", "model.discriminator.joint_batch=maybe: must be true or false"),
    ("vaegan", "model.discriminator.downsample=poll", "model.discriminator.downsample=poll: no such choice; did you"),
    ("vaegan", "model.discriminator.head_act=tan", "model.discriminator.head_act=tan: no such choice; did you mean"),
    ("vaegan", "model.single_forward=abc", "model.single_forward=abc: must be true or false"),
    ("vaegan", "model.widths=[8,0]", "model.widths[1]=0: must be a whole number, at least 1"),
    ("vaegan", "model.widths=[]", "model.widths=[]: must be a list of at least 1"),
    ("vaegan", "model.levels=many", "model.levels=many: must be a whole number, at least 1"),
    ("vaegan", "model.latent=true", "model.latent=true: must be a whole number, at least 1"),
    ("vaegan", "model.encoder.kernel=0", "model.encoder.kernel=0: must be a whole number, at least 1"),
    ("vaegan", "+model.encoder.dropout=0.5", "model.encoder.dropout: no such key; choices: "),
    ("vaegan", "~model.encoder.slope", "model.encoder.slope: missing, and it has no default"),
    ("vaegan", "~model.latent", "model.latent: missing, and it has no default"),
    ("vaegan", "model.decoder.output=tan", "model.decoder.output=tan: no such choice; did you mean 'tanh'?"),
    ("vaegan", "model.reduction.rec=avg", "model.reduction.rec=avg: no such choice; choices: mean, pixel_sum, sum"),
    ("vaegan", "model.levels=9", "data.size=16: not divided by the total stride 512 of model.levels=9; nearest: 512"),
    ("vae", "model.conv=[]", "model.conv=[]: must be a list of at least 1"),
    ("vae", "model.conv=[{filter:8,kernel:3,stride:2}]", "model.conv[0].filter: no such key; did you mean 'filters'?"),
    ("vae", "model.conv=[{filters:8,kernel:3}]", "model.conv[0].stride: missing, and it has no default"),
    ("vae", "model.conv=[8]", "model.conv[0]=8: must be a group of keys: filters, kernel, stride"),
    ("vae", "model.dense=null", "model.dense=null: must be a whole number, at least 1"),
    ("vae", "model.init_dense=he", "model.init_dense=he: no such choice; choices: "),
    ("dcgan", "model.prior=gaussian", "model.prior=gaussian: no such choice; choices: normal, uniform"),
    ("dcgan", "model.gan_loss=bse", "model.gan_loss=bse: no such choice; did you mean 'bce'?"),
    ("dcgan", "model.base_width=1.5", "model.base_width=1.5: must be a whole number, at least 1"),
    ("wgan_gp", "model.init=''", "model.init='': no such choice"),
]
LAYERS = [
    ("slope=abc", "must be a number, at least 0"),
    ("slope=-0.1", "must be a number, at least 0"),
    ("norm=batchh", "no such choice; did you mean 'batch'?"),
    ("act=5", "no such choice; choices: "),
]
WRONG += [
    (model, f"model.{part}{given}", f"model.{part}{given}: {said}")
    for model in MODELS
    for part in PARTS[model]
    for given, said in LAYERS
]
WRONG += [
    (model, f"model.{part}conv_bias=abc", f"model.{part}conv_bias=abc: must be true or false")
    for model in MODELS
    for part in PARTS[model]
    if part
]


@pytest.mark.parametrize(("model", "override", "line"), WRONG, ids=[f"{case[0]} {case[1]}" for case in WRONG])
def test_a_wrong_value_is_refused_by_its_dotted_key(compose: Compose, model: str, override: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        check(compose(f"model={model}", override))
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("model", "override"),
    [
        ("vaegan", "model.clip=0.01"),
        ("vaegan", "model.discriminator.head=[]"),
        ("vaegan", "model.discriminator.blocks=[{channels:8,convs:1},{channels:8,convs:1}]"),
        ("vaegan", "model.widths=[8,8]"),
        ("vaegan", "model.encoder.slope=0"),
        ("vae", "model.knobs.huber_delta=0.1"),
        ("vae", "model.init_dense=null"),
    ],
)
def test_what_is_in_range_is_taken(compose: Compose, model: str, override: str) -> None:
    check(compose(f"model={model}", override))
