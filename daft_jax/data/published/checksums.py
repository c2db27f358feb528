"""Sizes and checksums that are publicly stated for files to be downloaded.

  checksums.STATED['stl10_binary.tar.gz']     # (2640397119, 'sha256:f31fd...')

Sizes and sha256 are those of TensorFlow Datasets 4.9.10; the md5 of CIFAR-10 is
its publisher's; those of DomainNet are stated alike by several repositories
that download it, not by its publisher. None or '': nobody says.
"""

STATED: dict[str, tuple[int | None, str]] = {
  'CIFAR-10-C.tar': (
    2_918_471_680,
    'sha256:c72763e101c723b7c507b96205f7e938912a5d587376173b825850cf3cb876a7',
  ),
  'ILSVRC2012_img_train.tar': (
    147_897_477_120,
    'sha256:b08200a27a8e34218a0e58fde36b0fe8f73bc377f4acea2d91602057c3ca45bb',
  ),
  'ILSVRC2012_img_val.tar': (
    6_744_924_160,
    'sha256:c7e06a6c0baccf06d8dbeb6577d71efff84673a5dbdd50633ab44f8ea0456ae0',
  ),
  'ImageNet-Sketch.zip': (
    7_593_573_012,
    'sha256:4d3ce6b82a7c48aabf14aeac105eb533e75707f152cc858f55bfc022031a72ed',
  ),
  'cifar-10-binary.tar.gz': (
    170_052_171,
    'sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd',
  ),
  'cifar-10-python.tar.gz': (
    170_498_071,
    'md5:c58f30108f718f92721af3b95e74349a',
  ),
  'cifar10.1_v4_data.npy': (
    6_208_640,
    'sha256:5aaedc268df8f4cffca2ac0cf9e608ae1897a8cddb630c7a850a2ea8f6558e75',
  ),
  'cifar10.1_v4_labels.npy': (
    8_212,
    'sha256:1f9544300ded199539b6662364ce7fe6c2e1ea9f87408f06db4b1a6184cffb18',
  ),
  'cifar10.1_v6_data.npy': (
    6_144_128,
    'sha256:2997188e5816f5bd545dc77771b6227828c28146049fcecf3fa10775474cacc6',
  ),
  'cifar10.1_v6_labels.npy': (
    8_128,
    'sha256:ae40beda001693674edc94d925ee8268cfe68905f8f9aff800c8dcdfcd6c9448',
  ),
  'clipart.zip': (None, 'md5:cd0d8f2d77a4e181449b78ed62bccf1e'),
  'fmow_v1.1.tar.gz': (53_893_324_800, ''),
  'imagenet-a.tar': (
    687_552_512,
    'sha256:3bb3632277e6ba6392ea64c02ddbf4dd2266c9caffd6bc09c9656d28f012589e',
  ),
  'imagenet-r.tar': (
    2_191_079_936,
    'sha256:18c6bf493b39a0d975d48e587437f562caab9c52ae6327dcfa9dd8eb54aa1b52',
  ),
  'imagenetv2-matched-frequency.tar.gz': (
    1_264_079_360,
    'sha256:f0c37fdf925916b19ea1323cd9a2208cdb6959ba2c32eef2a7fc393835c9ca7c',
  ),
  'imagenetv2-threshold0.7.tar.gz': (
    1_249_906_176,
    'sha256:32142bfe998f9cfa4141be691f6a80eeb1e27b24bd532a668eb08c26d98897a2',
  ),
  'imagenetv2-top-images.tar.gz': (
    1_245_927_936,
    'sha256:85e4ace30f3f0d660152062254b8759dda66267b27f7ec0fd8d5768f1073a04b',
  ),
  'painting.zip': (None, 'md5:1ae32cdb4f98fe7ab5eb0a351768abfd'),
  'real.zip': (None, 'md5:dcc47055e8935767784b7162e7c7cca6'),
  'sketch.zip': (None, 'md5:658d8009644040ff7ce30bb2e820850f'),
  'stl10_binary.tar.gz': (
    2_640_397_119,
    'sha256:f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866',
  ),
}
