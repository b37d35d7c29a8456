from tests.conftest import TINY
from tests.method_tester import MethodTester


class TestCamel(MethodTester):
    method = "camel"
    settings = TINY["camel"]
