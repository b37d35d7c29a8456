from tests.conftest import TINY
from tests.method_tester import MethodTester


class TestVggCam(MethodTester):
    method = "vgg-cam"
    settings = TINY["vgg-cam"]
