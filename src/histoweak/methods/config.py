"""What the settings of every method share."""

from histoweak.config import StrictConfig
from histoweak.stages.evaluation_config import EvaluationConfig
from histoweak.training.config import RuntimeConfig


class MethodConfig(StrictConfig):
    """Base of the settings of a method: how it is evaluated, and where it computes."""

    evaluation: EvaluationConfig = EvaluationConfig()
    runtime: RuntimeConfig = RuntimeConfig()
