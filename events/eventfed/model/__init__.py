"""Values: events, their elements, entity ids, device states. No I/O, no bus."""
