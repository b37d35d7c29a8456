from tests.conftest import TINY
from tests.method_tester import MethodTester


class TestSupervised(MethodTester):
    method = "supervised"
    settings = TINY["supervised"]
