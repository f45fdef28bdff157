"""The outside world by HTTP: the one client, and one file for each way to send text messages.

`plugins.load("gateways", name, section)` finds a gateway by its file name.
"""
