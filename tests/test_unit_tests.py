"""The unit tests of the models, which `dbt build` leaves out, as they look at no table."""

import pytest

from tests.warehouse import Project

pytestmark = pytest.mark.slow


def test_unit_tests_of_models_pass(sample: Project) -> None:
    run = sample.dbt("test", "--select", "test_type:unit").ok()
    assert run.lines_with(r"Done\. PASS=[4-9]\d WARN=0 ERROR=0 SKIP=0")
