"""``eventfed demo``: the command, the story that it tells, and the table that shows it."""
