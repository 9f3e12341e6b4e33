"""What a play is worth: which events are valid, which are automatic, and which plays count under which policy."""
