"""Makes the exemplars of this folder: crops of scikit-image's photographs, and a drawing.

Usage: ``pip install scikit-image && python examples/make_exemplars.py``. README.md says where each comes from.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

FOLDER = Path(__file__).parent


def buttons(side: int = 256, seed: int = 3) -> Image.Image:
    """Coloured buttons that lie on white paper, each with a shaded rim, four holes and a soft shadow."""
    scale = 4
    generator = np.random.default_rng(seed)
    colours = ["#c0392b", "#d35400", "#e1b12c", "#27ae60", "#2980b9", "#8e44ad", "#34495e"]
    canvas = Image.new("RGB", (side * scale, side * scale), "#f6f4ef")
    placed: list[tuple[float, float, float]] = []
    while len(placed) < 42:
        radius = generator.uniform(11, 20)
        x, y = generator.uniform(-5, side + 5, 2)
        if all(np.hypot(x - a, y - b) > radius + r + 2 for a, b, r in placed) or generator.random() < 0.001:
            placed.append((x, y, radius))
    for x, y, radius in placed:
        shadow = Image.new("L", canvas.size)
        ImageDraw.Draw(shadow).ellipse(_box(x + 2, y + 3, radius, scale), fill=110)
        canvas.paste("#5b5346", mask=shadow.filter(ImageFilter.GaussianBlur(2.5 * scale)))
        draw = ImageDraw.Draw(canvas)
        colour = np.array(Image.new("RGB", (1, 1), str(generator.choice(colours))).getpixel((0, 0)))
        for size, light in ((1.0, 0.72), (0.97, 1.0), (0.74, 0.8), (0.70, 0.95)):
            tone = tuple(int(v) for v in np.clip(colour * light, 0, 255))
            draw.ellipse(_box(x, y, radius * size, scale), fill=tone)
        draw.arc(_box(x, y, radius * 0.86, scale), 200, 290, fill="#ffffff", width=scale)
        turn = generator.uniform(0, np.pi)
        for k in range(4):
            angle = turn + k * np.pi / 2
            hole = _box(x + 0.25 * radius * np.cos(angle), y + 0.25 * radius * np.sin(angle), 0.1 * radius, scale)
            draw.ellipse(hole, fill="#2b2622")
    return canvas.resize((side, side), Image.Resampling.LANCZOS)


def _box(x: float, y: float, radius: float, scale: int) -> tuple[float, float, float, float]:
    return tuple(scale * v for v in (x - radius, y - radius, x + radius, y + radius))


def main() -> None:
    """Write the exemplars beside this file."""
    from skimage import data

    for name, reduced in (("grass", 2), ("gravel", 2), ("brick", 2)):
        image = Image.fromarray(getattr(data, name)())
        image.reduce(reduced).save(FOLDER / f"{name}.png", optimize=True)
    Image.fromarray(data.hubble_deep_field()).crop((560, 520, 816, 776)).save(FOLDER / "galaxies.png", optimize=True)
    buttons().save(FOLDER / "buttons.png", optimize=True)


if __name__ == "__main__":
    main()
