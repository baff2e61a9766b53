"""One run: look, settle what earlier runs left, undo what is over, then repair what is wrong, rule by rule.

Before anything is done it is looked at again, and what is about to be done is written down together with the way back:
a run that is killed at any point leaves the next one able to know and to undo.
"""

from __future__ import annotations

from collections.abc import Sequence

from vpsmon.config.settings import Settings
from vpsmon.core.findings import ReadError
from vpsmon.recovery.actions import Effectors
from vpsmon.recovery.engine.journal import Journal
from vpsmon.recovery.engine.memory import Book
from vpsmon.recovery.engine.settle import settle
from vpsmon.recovery.engine.step import POLL_SECONDS, StepTaker, decide, find_pause
from vpsmon.recovery.engine.undo import Undoer
from vpsmon.recovery.engine.world import World
from vpsmon.recovery.machine import Machine
from vpsmon.recovery.model import Decision, Incident, Snapshot
from vpsmon.recovery.rule import Rule
from vpsmon.state.content import WRONG_FORM

# Two rules must not work at the same container at once: what one has done needs time to show.
_SETTLE_SECONDS = 300.0


class Engine:
    """Runs rules once."""

    def __init__(
        self,
        rules: Sequence[Rule],
        machine: Machine,
        world: World,
        effectors: Effectors,
        journal: Journal,
        settings: Settings,
    ) -> None:
        self._rules = rules
        self._machine = machine
        self._world = world
        self._effectors = effectors
        self._journal = journal
        self._settings = settings
        # What could not be read in the last look, and why.
        self.unread: list[str] = []
        # Whether any rule sees an incident at the end of the run.
        self.is_over = True
        self._undoer = Undoer(effectors, journal, settings)
        self._steps = StepTaker(machine, effectors, journal, settings, self._look, self._is_interrupted)

    @property
    def _book(self) -> Book:
        return self._journal.book

    def restore(self) -> bool:
        """Undo everything that is changed, and return whether all of it worked. Raises StateError."""
        is_complete = self._undoer.undo_all(self._look())
        self._journal.finish()
        return is_complete

    def run(self) -> bool:
        """Do what there is to do, and return whether there was a machine to look at. Raises StateError."""
        snapshot = self._look()
        if any(rule.wants_second_look(snapshot, self._settings) for rule in self._rules):
            self._machine.sleep(POLL_SECONDS)
            snapshot = self._look()
        for rule in self._rules:
            settle(rule, snapshot, self._journal, self._settings)
        self._undoer.undo_what_is_over(self._rules, snapshot)
        for rule in self._rules:
            snapshot = self._repair(rule, snapshot)
        self._journal.finish()
        self.is_over = not any(self._detect(rule, snapshot) for rule in self._rules)
        found = [finding for findings in snapshot.findings.values() for finding in findings]
        unknown = [finding for finding in found if finding.status == "unknown"]
        self.unread = sorted({f"{each.check}: {each.reason or each.message}" for each in unknown})
        return len(unknown) < len(found)

    def _look(self) -> Snapshot:
        snapshot = self._world.look(self._book.at, self._book.changes)
        for rule in self._rules:
            memory = self._book.memories.get(rule.name, {})
            try:
                memory = rule.remember(snapshot, self._settings, memory)
            except WRONG_FORM:
                # What was remembered may be of another form: without it the rule starts afresh.
                memory = rule.remember(snapshot, self._settings, {})
            if memory:
                self._book.memories[rule.name] = memory
            else:
                self._book.memories.pop(rule.name, None)
        return snapshot

    def _detect(self, rule: Rule, snapshot: Snapshot) -> list[Incident]:
        return rule.detect(snapshot, self._settings, self._book.memories.get(rule.name, {}))

    def _repair(self, rule: Rule, snapshot: Snapshot) -> Snapshot:
        """See to the incidents of a rule, one after the other, and return the latest look."""
        seen: set[str] = set()
        while True:
            incident = next((each for each in self._detect(rule, snapshot) if each.target not in seen), None)
            if incident is None:
                return snapshot
            seen.add(incident.target)
            decision = self._decide(rule, incident)
            if decision.verdict != "act":
                self._pass_over(rule, incident, decision)
                continue
            is_done = self._confirm_and_act(rule, incident)
            if self._effectors.is_real:
                snapshot = self._repair_what_is_urgent(rule, self._look())
            elif is_done and rule.has_alternatives:
                return snapshot

    def _is_interrupted(self, rule: Rule, snapshot: Snapshot) -> bool:
        """Return whether something came up that cannot wait until the verification for this rule is over."""
        return any(self._detect(other, snapshot) for other in self._list_urgent(rule))

    def _repair_what_is_urgent(self, rule: Rule, snapshot: Snapshot) -> Snapshot:
        for other in self._list_urgent(rule):
            snapshot = self._repair(other, snapshot)
        return snapshot

    def _list_urgent(self, rule: Rule) -> list[Rule]:
        return [each for each in self._rules if each is not rule and each.is_urgent]

    def _decide(self, rule: Rule, incident: Incident) -> Decision:
        """Return whether to act now, and if not why."""
        now, decision = self._journal.now(), decide(rule, incident)
        record = self._book.find(rule.name, incident, now)
        decision = decision._replace(attempts=record["attempts"])
        if incident.waits_for:
            return decision._replace(verdict="hold", reason="dependency")
        if not incident.steps:
            return decision._replace(verdict="person")
        if not self._settings.ENABLE_AUTO_RECOVERY:
            return decision._replace(verdict="disabled", next_action=incident.steps[0].action)
        if now < self._book.quiet_until:
            return decision._replace(verdict="wait", reason="memory_lost", wait_seconds=self._book.quiet_until - now)
        if record["attempts"] >= len(incident.steps) and not rule.has_alternatives:
            return decision._replace(verdict="given up")
        wait_seconds = find_pause(rule, record, now)
        if wait_seconds > 0:
            return decision._replace(verdict="wait", reason="pause", wait_seconds=wait_seconds)
        is_treated = self._book.is_being_treated(rule.name, incident.touches, now, _SETTLE_SECONDS)
        if is_treated and not rule.is_urgent:
            return decision._replace(verdict="wait", reason="other_repair")
        if self._book.count_actions(now, rule.is_urgent) >= self._settings.RECOVERY_MAX_ACTIONS_PER_HOUR:
            return decision._replace(verdict="budget", limit=self._settings.RECOVERY_MAX_ACTIONS_PER_HOUR)
        return decision

    def _pass_over(self, rule: Rule, incident: Incident, decision: Decision) -> None:
        """Note why nothing is done; the owner and the log hear it once for each incident."""
        record, verdict = self._book.find(rule.name, incident, self._journal.now()), decision.verdict
        is_news = record["told"] != verdict
        record["told"] = verdict
        if verdict in ("given up", "budget", "person") and verdict not in record["alerted"]:
            is_critical = verdict == "given up" or incident.is_grave
            decision = decision._replace(severity="critical" if is_critical else "warning")
            record["alerted"].append(verdict)
        self._journal.say(decision, is_news)

    def _confirm_and_act(self, rule: Rule, incident: Incident) -> bool:
        """Look again, read what is needed, and take the next step; return whether there was one."""
        self._machine.sleep(rule.confirm_after_seconds)
        again = self._detect(rule, self._look())
        confirmed = next((each for each in again if each.target == incident.target), None)
        if confirmed is None or not confirmed.steps or confirmed.waits_for:
            self._pass_over(rule, incident, decide(rule, incident)._replace(verdict="not needed"))
            return False
        try:
            confirmed = rule.prepare(confirmed, self._machine, self._settings)
        except ReadError as error:
            decision = decide(rule, confirmed)._replace(verdict="hold", reason="unreadable", error=str(error))
            self._pass_over(rule, confirmed, decision)
            return False
        if confirmed.waits_for:
            decision = decide(rule, confirmed)._replace(verdict="hold", reason="dependency")
            self._pass_over(rule, confirmed, decision)
            return False
        if not confirmed.steps:
            self._pass_over(rule, confirmed, decide(rule, confirmed)._replace(verdict="person"))
            return False
        self._steps.take(rule, confirmed)
        return True
