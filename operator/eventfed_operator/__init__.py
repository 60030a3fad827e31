"""The operator: what an EventFederation asks for, what there is, and what has to be done about it.

What decides is pure: `reconcile`, builders, conditions, statuses, rosters and tokens read no clock, file or network.
Around it, `reconciler` observes and carries out, `manager` has one reconciler for each EventFederation, `watch` lets
kopf watch, and `process` puts it together. ``python -m eventfed_operator`` runs it.
"""
