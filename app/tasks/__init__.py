"""The jobs: a module a family. Telemetry comes from the kit, not from here."""
