"""CIFAR-10, tested also on CIFAR-10.1 and STL-10.

  python -m daft_jax.data prepare cifar --data_dir=/data
  python -m daft_jax.main --config=configs/cifar.py \
    --workdir=/tmp/cifar --config.data.dir=/data \
    --config.weights_path=WEIGHTS

ID: CIFAR-10, 50,000 images to train on (5,000 of them to choose by) and 10,000
to test on. OOD: CIFAR-10.1 v6 (2,000) and STL-10's test images without monkeys
(7,200), where a car is an automobile and no image is a frog.

Images are resized to 224 pixels (bilinear), in training mirrored every other
time. 20 epochs, batches of 64.

CIFAR-10-C, 15 corruptions in 5 severities, is 750,000 images: the chosen trials
are tested on it by the same command with --config.eval_only, which reports the
mean by corruption and of all. The paper's use of it is not known.

WEIGHTS is moco_v2_800ep_pretrain.pth.tar. Others of the paper:
  --config.backbone=clip_resnet50 --config.weights=clip_resnet50.openai
  --config.weights=resnet50.swav_800ep

What all suites of the paper share, and how its search goes, says `paper` in
configs/common.py. Grids of the authors for daft with a head rate of 1, in steps
of 1 and 3: MoCo v2 and CLIP 1e-4 to 3e-6, SwAV 0.1 to 0.003.

No accuracy of the DAFT paper is stated here, as none could be verified.

LP-FT (ICLR 2022, tables 1 and 2, three seeds) reports for MoCo v2,
CIFAR-10 / CIFAR-10.1 / STL-10:
FT 97.3 / 92.3 / 82.4, LP 91.8 / 82.7 / 85.1, LP-FT 97.5 / 93.5 / 90.7.
"""

from configs import common


def get_config(arg=''):
  config = common.paper('cifar', 'resnet50', 'resnet50.mocov2_800ep', epochs=20)
  return common.update(config, arg)
