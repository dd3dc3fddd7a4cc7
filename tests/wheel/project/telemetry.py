"""Has nothing to do with Followthrough's folder of that name."""

GREETING = "Hello"
