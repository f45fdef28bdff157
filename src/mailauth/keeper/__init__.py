"""The small process apart that alone knows the master passwords of back ends and the keys of doveadm."""
