"""Backbones: MobileNet V1, V2, V3 and ResNet."""
