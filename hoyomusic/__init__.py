"""HoyoMusic: symbolic music for the nations of Teyvat, on an ordinary computer."""

__version__ = "1.0.0"
