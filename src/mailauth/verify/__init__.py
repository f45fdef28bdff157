"""The one place that judges an attempt."""
