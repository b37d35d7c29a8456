"""Losses: functions of network outputs and labels."""
