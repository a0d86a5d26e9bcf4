"""Networks whose weights, gradients and moments are cut up among the processes, by torch's FSDP2; states stay whole.

A file of a sharded run's state is that of any other run: it goes on with another number of processes, or with one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def shard_net(net: nn.Module, device: torch.device, world: int) -> None:
    """Cut the parameters of a network up, in place; its `forward` gathers them while it runs, and lets them go after.

    The network is one unit, so that whatever its forward reads of its parts is whole. Buffers stay each process's own.

    Args:
        net: on the device, equal in all processes.
        device: its kind tells by what the processes talk.
        world: number of the processes.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    fully_shard(net, mesh=init_device_mesh(device.type, (world,)))  # type: ignore[call-overload]


def is_cut(tensor: Any) -> bool:
    """Whether a tensor is one process's share of a whole one."""
    # Where nothing was cut, its class need not be imported.
    return isinstance(tensor, Tensor) and hasattr(tensor, "full_tensor")


def own_share(tensor: Tensor) -> Tensor:
    """What this process has of a tensor, sharing its memory; all of it where it is whole."""
    share: Tensor = tensor.to_local() if is_cut(tensor) else tensor  # type: ignore[attr-defined]
    return share


def gathered(state: Any) -> Any:
    """A state with whole tensors on the CPU in place of shares; all processes have to ask for it together."""
    if isinstance(state, dict):
        return {key: gathered(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(gathered(value) for value in state)
    return state.full_tensor().cpu() if is_cut(state) else state


def cut_like(whole: Tensor, like: Tensor) -> Tensor:
    """This process's share of a whole tensor, cut as another one is; the whole where that is not cut."""
    if not is_cut(like):
        return whole
    from torch.distributed.tensor import distribute_tensor

    # Every process has read the same file; nothing has to be sent.
    mesh, placements = like.device_mesh, like.placements  # type: ignore[attr-defined]
    return distribute_tensor(whole.to(like.device, like.dtype), mesh, placements, src_data_rank=None)


def cut_net_state(state: dict[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """The whole state of a network, cut as the network is."""
    own = net.state_dict()
    return {key: cut_like(value, own[key]) for key, value in state.items()}


def cut_optimizer_state(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The whole state of an optimizer, cut as its parameters are."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    shares = {}
    for place, moments in state["state"].items():
        like = parameters[place]
        shares[place] = {
            key: cut_like(value, like) if isinstance(value, Tensor) and value.shape == like.shape and value.ndim else value
            for key, value in moments.items()
        }
    return {**state, "state": shares}
