"""Living-17 of BREEDS: animals of other kinds than were trained on.

  python -m daft_jax.data prepare living17 --data_dir=/data
  python -m daft_jax.main --config=configs/living17.py \
    --workdir=/tmp/living17 --config.data.dir=/data \
    --config.weights_path=WEIGHTS

17 classes, each of two subclasses of ImageNet for training and the ID
test and of two others for OOD: about 1,300 training images of each (a tenth
of them to choose by), 1,700 ID test images and 1,700 OOD. The split is 'rand'
with seed 2, as their notebook prints it.

Training: a random resized crop at 224 pixels (bilinear), mirrored every other
time. Tests: the shorter side at 256, the middle 224. 20 epochs, batches of 64.

WEIGHTS is moco_v2_800ep_pretrain.pth.tar. Others of the paper:
  --config.backbone=clip_resnet50 --config.weights=clip_resnet50.openai
  --config.weights=resnet50.swav_800ep

What all suites of the paper share, and how its search goes, says `paper` in
configs/common.py. Grids of the authors for daft with a head rate of 1, in steps
of 1 and 3: MoCo v2 and CLIP 1e-4 to 3e-6, SwAV 0.1 to 0.003.

No accuracy of the DAFT paper is stated here, as none could be verified.

LP-FT (ICLR 2022, tables 1 and 2, three seeds) reports for MoCo v2, ID / OOD:
FT 97.1 / 77.8, LP 96.5 / 82.2, LP-FT 97.8 / 82.6.
"""

from configs import common


def get_config(arg=''):
  config = common.paper(
    'living17', 'resnet50', 'resnet50.mocov2_800ep', epochs=20
  )
  return common.update(config, arg)
