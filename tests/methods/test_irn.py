from tests.conftest import TINY
from tests.method_tester import MethodTester


class TestIrn(MethodTester):
    method = "irn"
    settings = TINY["irn"]
