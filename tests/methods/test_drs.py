from tests.conftest import TINY
from tests.method_tester import MethodTester


class TestDrs(MethodTester):
    method = "drs"
    settings = TINY["drs"]
