from tests.conftest import TINY
from tests.method_tester import MethodTester


class TestHistoSegNet(MethodTester):
    method = "histosegnet"
    settings = TINY["histosegnet"]
    last = "adjusted"
    change = "prediction.peak=class"
    changed = "prediction"
