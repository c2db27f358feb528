"""Entity-30 of BREEDS: things of other kinds than were trained on.

  python -m daft_jax.data prepare entity30 --data_dir=/data
  python -m daft_jax.main --config=configs/entity30.py \
    --workdir=/tmp/entity30 --config.data.dir=/data \
    --config.weights_path=WEIGHTS

30 classes, each of four subclasses of ImageNet for training and the ID
test and of four others for OOD: about 1,300 training images of each (a tenth
of them to choose by), 6,000 ID test images and 6,000 OOD. The split is 'rand'
with seed 2, from the same code; their notebook does not print it.

Training: a random resized crop at 224 pixels (bilinear), mirrored every other
time. Tests: the shorter side at 256, the middle 224. 20 epochs, batches of 64.

WEIGHTS is moco_v2_800ep_pretrain.pth.tar. Others of the paper:
  --config.backbone=clip_resnet50 --config.weights=clip_resnet50.openai
  --config.weights=resnet50.swav_800ep

What all suites of the paper share, and how its search goes, says `paper` in
configs/common.py. Grids of the authors for daft with a head rate of 1, in steps
of 1 and 3: MoCo v2 1e-4 to 3e-6, CLIP 1e-4, 3e-5, 1e-6, 3e-7,
SwAV 0.1 to 0.001.

No accuracy of the DAFT paper is stated here, as none could be verified.

LP-FT (ICLR 2022, tables 1 and 2, three seeds) reports for MoCo v2, ID / OOD:
FT 93.6 / 60.7, LP 90.6 / 63.2, LP-FT 93.7 / 62.3.
"""

from configs import common


def get_config(arg=''):
  config = common.paper(
    'entity30', 'resnet50', 'resnet50.mocov2_800ep', epochs=20
  )
  return common.update(config, arg)
