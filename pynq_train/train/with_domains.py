"""What of a learner belongs to its domains: what it has learnt, given and taken as a whole."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pynq_train.graph import Graph
from pynq_train.graph.image_format import ImageFormat
from pynq_train.layers.fuse import FusedLayer
from pynq_train.quant import ExponentPolicy
from pynq_train.run.masters import Masters
from pynq_train.run.session import Session
from pynq_train.run.trainer import Trainer
from pynq_train.schedule.plan import Plan
from pynq_train.train.class_names import ClassNames
from pynq_train.train.domains import Adapters, Domains, fingerprint, learning
from pynq_train.train.state import TrainState
from pynq_train.train.turns import in_turn


class WithDomains:
    """The part of a learner that keeps and changes what it has learnt.

    Attributes:
        graph: the network.
        input_format: format of the images.
        state: counters, history, and the call of ``fit`` under way.
    """

    graph: Graph
    input_format: ImageFormat
    state: TrainState
    _plan: Plan
    _policy: ExponentPolicy
    _masters: dict[str, Masters]
    _names: ClassNames
    _trainer: Trainer | None
    _kept: dict[str, Adapters]

    @property
    def domains(self) -> Domains:
        """Named adapters on this backbone: kept, gone back to, saved in a file of their own."""
        return Domains(self, self._kept)

    @property
    @in_turn
    def adapters(self) -> Adapters:
        """What is trained, as it is now; set to go back to that of another moment.

        An open board is then written nothing else.
        """
        policy = self._policy if self._trainer is None else self._trainer.policy
        masters = self._present()
        return Adapters({name: masters[name] for name in learning(self._plan)},
                        copy.deepcopy(policy.to_dict()), self.input_format, self._names)

    @adapters.setter
    @in_turn
    def adapters(self, adapters: Adapters) -> None:
        # Several boards, a kernel, maps that are kept with exponents of another moment: all of it
        # is opened anew.
        if not isinstance(self._trainer, Session) or self._plan.cached:
            self.close()
        self._masters = {**self._present(), **adapters.masters}
        self._take_policy(copy.deepcopy(dict(adapters.policy)))
        if isinstance(self._trainer, Session):
            self._trainer.switch(adapters.masters, self._policy)
        self.input_format, self._names = adapters.form, adapters.names
        self.state.run = None

    @property
    @in_turn
    def backbone(self) -> str:
        """Fingerprint of the network and of all parameters that are not trained."""
        return fingerprint(self.graph, self._plan, self._present())

    @property
    def learning_layers(self) -> Mapping[str, FusedLayer]:
        """The layers that a training changes, by name."""
        names = learning(self._plan)
        return {layer.name: layer for layer in self._plan.layers if layer.name in names}

    def close(self) -> None:
        """Read the weights back and release the board."""
        raise NotImplementedError

    def _present(self) -> dict[str, Masters]:
        """Return present weights and momentum, as :attr:`Learner.masters`."""
        if self._trainer is not None:
            self._masters = self._trainer.read_masters()
        return self._masters

    def _take_policy(self, saved: Any) -> None:
        """Take exponents and their histories from plain values."""
        self._policy = ExponentPolicy.from_dict(saved, self._plan.quant_layers,
                                                self._plan.backward_graph)
        self._policy.loss = self._plan.loss
