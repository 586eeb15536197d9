"""torch.compile on request.

With the backend `eager`, which captures graphs as any backend has them and runs them as they are:
compiling C++ for one step takes minutes on a small machine.
"""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from omniflow.errors import TrainingError
from omniflow.training import updates
from omniflow.training.trainer import train


@pytest.fixture
def backend(monkeypatch):
    """Compile with this backend in place of the standard one, and note what is compiled."""
    compiled = []

    def use(chosen):
        def compile_module(module):
            compiled.append(module)
            nn.Module.compile(module, backend=chosen)

        monkeypatch.setattr(updates, "compile_module", compile_module)
        torch._dynamo.reset()
        return compiled

    return use


def test_a_compiled_run_is_that_of_its_graphs(short_recipe, small_registry, tmp_path, backend):
    # The codebook search sums in another order in a graph.
    graphs = []

    def eager(graph, inputs):
        graphs.append(graph)
        return graph

    compiled = backend(eager)
    for name in (True, False):
        recipe = short_recipe(compile=name, max_steps=1)
        train(recipe, output_dir=tmp_path / str(name), registry=small_registry)
    assert [type(module).__name__ for module in compiled] == ["LossModule"]
    assert graphs
    left, right = (
        load_file(tmp_path / name / "final" / "model.safetensors") for name in ("True", "False")
    )
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], msg=name)


def test_a_compiler_that_fails_ends_the_run_with_advice(
    short_recipe, small_registry, tmp_path, backend
):
    def broken(graph, inputs):
        raise OSError("no compiler here")

    backend(broken)
    with pytest.raises(TrainingError, match=r"torch.compile failed \(.*") as caught:
        train(short_recipe(compile=True), output_dir=tmp_path / "run", registry=small_registry)
    assert "no compiler here" in str(caught.value)
    assert "--no-compile" in str(caught.value)
