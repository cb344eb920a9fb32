"""Makes the pictures of this folder: crops of scikit-image's photographs, drawings, and index images of regions.

Usage: ``pip install scikit-image && python examples/make_exemplars.py``. README.md says where each comes from.

Exemplars of textures: grass, gravel, brick, galaxies, buttons, and for regular patterns weave and tiles. Exemplars of
styles: strokes, ink, tissue. Contents: portrait, cat. A material, in five maps: cobbles. Painting with textures:
ground, whose materials ground_regions numbers, and layout, which says where they shall go. To be filled: torn. The
drawings follow from their seeds; a file that already holds the pixels to be written is left as it is, whatever
compressed it.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

FOLDER = Path(__file__).parent

# Colours by tone, from 0 to 1.
SKY = ("#0d1233", "#17236b", "#1f49a6", "#3c7fc4", "#86c3c9", "#e9ecc6", "#f8e27a", "#f4b92c", "#d9821c")
FIELD = ("#10203a", "#1d4a4f", "#4f7a3a", "#b98a2b", "#e0b23c", "#f3dd92")
WATER = ("#0c2c4c", "#14456f", "#1f6391", "#3583ad", "#6fb0c9", "#d3edf0")

# Swirls of strokes(): centre, radius (in sides of the picture) and turning direction.
SWIRLS = (
    (0.73, 0.22, 0.155, 1),
    (0.30, 0.40, 0.190, -1),
    (0.11, 0.12, 0.085, 1),
    (0.62, 0.56, 0.095, -1),
    (0.93, 0.55, 0.080, 1),
    (0.45, 0.10, 0.065, -1),
)

# Hills of ink(), from far to near: height, slope, bump, and whether the lines run along the hill or down it.
HILLS = (
    (0.44, 0.06, 0.045, False),
    (0.55, -0.16, 0.050, True),
    (0.63, 0.20, 0.050, False),
    (0.76, -0.14, 0.040, True),
    (0.86, 0.10, 0.030, False),
)

# The woman of portrait.jpg with her suit and helmet, clockwise from her hair.
OUTLINE = (
    *((153, 70), (158, 55), (171, 44), (189, 30), (205, 20), (225, 15), (250, 17), (273, 28), (290, 45), (300, 70)),
    *((301, 90), (297, 108), (287, 123), (276, 131), (270, 137), (266, 143), (260, 160), (256, 172), (270, 182)),
    *((290, 204), (302, 224), (305, 235), (320, 244), (340, 262), (348, 278), (354, 288), (357, 305), (361, 326)),
    *((365, 345), (380, 344), (400, 343), (420, 346), (443, 352), (470, 370), (490, 398), (497, 425), (499, 450)),
    *((505, 462), (511, 480), (511, 511), (46, 511), (38, 502), (30, 488), (26, 470), (24, 440), (26, 425), (20, 415)),
    *((21, 390), (25, 350), (30, 324), (40, 298), (50, 278), (64, 250), (85, 232), (107, 214), (115, 206), (114, 188)),
    *((121, 184), (128, 168), (143, 155), (165, 149), (184, 149), (180, 132), (172, 125), (164, 113), (155, 96)),
)


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


def strokes(side: int = 384, seed: int = 5) -> Image.Image:
    """A painting in thick strokes: yellow swirls in a blue night sky above an ochre field, from broad to fine."""
    scale = 4
    generator = np.random.default_rng(seed)
    flow, colours = _night(side, generator)
    canvas = Image.fromarray(_bytes(colours(0.0))).resize((side * scale, side * scale)).convert("RGBA")
    canvas.putalpha(128)  # alpha holds the height of the paint; drawing replaces it
    draw = ImageDraw.Draw(canvas)
    layers = ((14, 60, 1000, 0.05), (10, 46, 1500, 0.07), (7, 34, 2300, 0.08), (4, 22, 900, 0.11))
    for width, length, count, spread in layers:
        paths = _follow(flow, generator.uniform(-8, side + 8, (count, 2)), length * generator.uniform(0.6, 1.3, count))
        x, y = np.clip(paths[:, paths.shape[1] // 2], 0, side - 1).astype(int).T
        paint = colours(spread * generator.standard_normal(count), x, y) + generator.normal(0, 7, (count, 3))
        for path, colour, wide in zip(paths, paint, width * generator.uniform(0.7, 1.2, count), strict=True):
            _stroke(draw, path * scale, colour, wide * scale, generator)
    relief = np.asarray(canvas.getchannel("A").filter(ImageFilter.GaussianBlur(2)), dtype=np.float64)
    down, right = np.gradient(relief)
    light = np.clip(1 + 0.028 * down + 0.021 * right, 0.6, 1.4)
    canvas = Image.fromarray(_bytes(np.asarray(canvas)[..., :3] * light[..., None]))
    return canvas.resize((side, side), Image.Resampling.LANCZOS)


def _night(side: int, generator: np.random.Generator) -> tuple[np.ndarray, Callable[..., np.ndarray]]:
    """Unit vectors of the flow (side, side, 2), and a function that gives the colours, jittered, of all or some pixels.

    The flow runs along the level lines of a stream function, so it neither starts nor ends anywhere: swirls and waves
    in the sky, the outline of the hill in the field. The tone follows the same function: its bands lie along the flow.
    """
    y, x = np.mgrid[0:side, 0:side] / side
    waves = 0.35 * y + 0.075 * _noise(side, 3, generator) + 0.010 * _noise(side, 9, generator)
    stream, glow, free = np.zeros_like(x), np.zeros_like(x), np.ones_like(x)
    for centre_x, centre_y, radius, turn in SWIRLS:
        d = np.hypot(x - centre_x, y - centre_y) / radius
        stream += turn * 1.5 * radius * np.exp(-0.5 * d**2)
        free *= 1 - 0.85 * np.exp(-0.4 * d**2)
        glow = np.maximum(glow, np.exp(-((d / 0.72) ** 2)) + 0.42 * np.exp(-(((d - 1.15) / 0.22) ** 2)))
    depth = y - (0.77 + 0.05 * np.sin(5.5 * x + 0.6) + 0.03 * np.sin(13 * x))
    field = depth > 0
    stream += free * (waves - waves.mean())
    stream = np.where(field, 0.6 * depth + 0.02 * _noise(side, 6, generator), stream)
    sky_tone = 0.19 + 0.07 * _noise(side, 4, generator) + 0.11 * np.sin(60 * stream) + 0.66 * glow
    field_tone = 0.45 + 0.22 * np.sin(70 * stream) + 0.12 * _noise(side, 5, generator) + np.clip(depth, 0, 0.25)
    field_tone -= 0.5 * np.exp(-((depth / 0.02) ** 2))
    down, right = np.gradient(stream)
    flow = np.stack([down, -right], axis=-1)

    def colours(jitter: float | np.ndarray, x: object = slice(None), y: object = slice(None)) -> np.ndarray:
        sky, ground = _ramp(sky_tone[y, x] + jitter, SKY), _ramp(field_tone[y, x] + 1.5 * jitter, FIELD)
        return np.where(field[y, x, None], ground, sky)

    return flow / np.maximum(np.linalg.norm(flow, axis=-1, keepdims=True), 1e-9), colours


def _follow(flow: np.ndarray, starts: np.ndarray, lengths: np.ndarray, steps: int = 9) -> np.ndarray:
    """Paths (count, steps, 2) along the flow from the starts (count, 2), x before y."""
    paths = [starts]
    for _ in range(steps - 1):
        x, y = np.clip(paths[-1], 0, len(flow) - 1).astype(int).T
        paths.append(paths[-1] + flow[y, x] * lengths[:, None] / (steps - 1))
    return np.stack(paths, axis=1)


def _stroke(
    draw: ImageDraw.ImageDraw, path: np.ndarray, colour: np.ndarray, width: float, generator: np.random.Generator
) -> None:
    """One stroke of a brush: bristles side by side, each of its own tint, height, start and end; it tapers."""
    steps = len(path)
    tangent = np.gradient(path, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=-1, keepdims=True), 1e-9)
    normal = tangent[:, ::-1] * (-1, 1)
    for place in generator.permutation(np.linspace(-1, 1, max(3, round(width / 3.2)))):
        first = generator.integers(0, 2) + (abs(place) > 0.75)
        last = steps - generator.integers(0, 2) - (abs(place) > 0.6)
        line = path + place * width / 2 * np.linspace(1.0, 0.75, steps)[:, None] * normal
        tint = colour * generator.normal(1, 0.09) + (14 if generator.random() < 0.15 else 0)
        height = generator.normal(128, 36) + 30 * abs(place) ** 3
        fill = tuple(_bytes(np.array([*tint, height])).tolist())
        draw.line([tuple(p) for p in line[first:last].tolist()], fill=fill, width=int(generator.integers(4, 6)))


def ink(side: int = 320, seed: int = 11) -> Image.Image:
    """A woodcut, black on cream paper: hills below a sun, in lines that swell with the shade and cross in the dark."""
    scale = 4
    size = side * scale
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    rough = 0.5 * _noise(size, 110, generator) + 0.35 * _noise(size, 260, generator)
    waver = 0.02 * _noise(size, 4, generator)
    black = _sunrise(x, y, waver, rough, _noise(size, 4, generator))
    for near, (level, slope, bump, along) in enumerate(HILLS, start=1):
        lean = 1 if along else -1
        edge = level + slope * (x - 0.5) + bump * np.sin(2 * np.pi * (x * (0.7 + 0.22 * near) + 0.23 * near))
        depth = y - edge - 0.012 * _noise(size, 7, generator)[size // 2]
        if along:
            line = (depth + 0.15 * x + 0.6 * waver) / 0.0175
        else:
            line = (0.55 * depth - 0.8 * x + 0.10 * np.sin(6 * depth - 3 * x) + 0.5 * waver) / 0.0165
        tone = 0.17 + 2.6 * depth + 0.13 * _noise(size, 5, generator)
        tone += 0.16 * lean * np.sin(2 * np.pi * (1.3 * x + 0.2 * near))
        face = _hatch(line, tone, rough) | _hatch((0.75 * lean * x - 0.7 * y) / 0.017, 1.1 * tone - 0.55, rough)
        face |= depth < 0.0075 + 0.004 * np.clip(_noise(size, 9, generator), -1, 1)
        black = np.where(depth > 0, face, black)
    paper = np.array([243, 231, 205]) + 2 * _noise(size, 5, generator)[..., None]
    canvas = Image.fromarray(_bytes(np.where(black[..., None], (30, 24, 22), paper)))
    return canvas.resize((side, side), Image.Resampling.LANCZOS)


def _sunrise(x: np.ndarray, y: np.ndarray, waver: np.ndarray, rough: np.ndarray, cloud: np.ndarray) -> np.ndarray:
    """Where the sky of ink() is black: lines that part around a sun with rays."""
    radius = 0.105
    right, down = x - 0.66, y - 0.24
    d = np.hypot(right, down)
    bend = 0.05 * np.exp(-((right / 0.2) ** 2) - np.abs(down) / 0.12) * np.tanh(down / 0.03)
    tone = 0.14 + 0.5 * np.clip((d - radius) / 0.75, 0, 1) + 0.13 * cloud
    sky = _hatch((y + bend + waver) / 0.0165, tone, rough) | _hatch((0.8 * x - y) / 0.0165, 1.1 * tone - 0.48, rough)
    turn = np.arctan2(down, right) / (2 * np.pi)
    reach = radius * (1.75 + 0.3 * np.cos(2 * np.pi * 22 * turn) + 0.04 * rough)
    rays = _hatch(44 * turn, 0.75 * (reach - d) / (reach - radius), rough)
    shade = _hatch(d / 0.0165, 0.05 + 0.3 * (right + down) / radius, rough)
    sun = np.where(d > 0.97 * radius + 0.002 * rough, d < 1.06 * radius, shade)
    return np.where(d < 1.06 * radius, sun, np.where(d < reach, rays, sky))


def _hatch(line: np.ndarray, tone: np.ndarray, rough: np.ndarray) -> np.ndarray:
    """Where lines through the whole numbers of `line` are black, as broad as the tone says, and none in the light."""
    return (2 * np.abs(line - np.round(line)) < np.minimum(tone, 0.9) + 0.1 * rough) & (tone > 0.07 + 0.03 * rough)


def weave(side: int = 256, seed: int = 7, pitch: int = 14) -> Image.Image:
    """Plain weave of blue warp and cream weft; it repeats every two strands, 28 pixels."""
    scale = 4
    size = side * scale
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / scale
    strands = side // pitch + 3
    best = np.full((size, size), -1.0)
    cloth = np.zeros((size, size, 3))
    for across, along, sign, colour in ((x, y, 1, (52, 84, 140)), (y, x, -1, (226, 214, 186))):
        place = (across + 0.5 * _noise(size, 12, generator)) / pitch + 1
        strand = np.floor(place).astype(int)
        width = 0.80 + 0.03 * generator.standard_normal(strands)[strand]
        middle = (2 * (place - strand) - 1) / width
        wave = sign * np.cos(np.pi * (along / pitch - 0.5 + strand))
        height = np.where(np.abs(middle) < 1, 0.6 * wave + 0.4 * np.sqrt(np.clip(1 - middle**2, 0, 1)), -1)
        twist = np.sin(2 * np.pi * (1.4 * middle + 2.5 * along / pitch) + 1.2 * _noise(size, 40, generator))
        light = 0.62 + 0.45 * height - 0.10 * middle + 0.05 * twist + 0.02 * _noise(size, 120, generator)
        tint = np.array(colour) * generator.normal(1, 0.06, (strands, 1)) * generator.normal(1, 0.02, (strands, 3))
        cloth = np.where((height > best)[..., None], tint[strand] * light[..., None], cloth)
        best = np.maximum(best, height)
    cloth[best <= -1] = (24, 26, 34)
    return Image.fromarray(_bytes(cloth)).resize((side, side), Image.Resampling.LANCZOS)


def tiles(side: int = 256, seed: int = 13, length: int = 48, course: int = 24) -> Image.Image:
    """A wall of red bricks in running bond, with mortar, grain and bricks of many reds; it repeats every 48 pixels."""
    scale = 3
    size = side * scale
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / scale
    y = y + 0.5 * _noise(size, 30, generator)
    x = x + 0.5 * _noise(size, 30, generator)
    row = np.floor(y / course).astype(int)
    shifted = x / length + 0.5 * (row % 2) + 1
    column = np.floor(shifted).astype(int)
    # Distance to the brick's edge (positive inside), its corners rounded.
    right, down = np.abs((shifted - column - 0.5) * length), np.abs((y / course - row - 0.5) * course)
    over_x, over_y = right - (length / 2 - 4.5), down - (course / 2 - 4.5)
    inside = 3 - np.hypot(np.maximum(over_x, 0), np.maximum(over_y, 0)) - np.minimum(np.maximum(over_x, over_y), 0)
    inside += 0.35 * _noise(size, 60, generator)
    rows, columns = side // course + 3, side // length + 5
    number = (row % rows) * columns + column
    reds = np.array([(164, 74, 52), (176, 86, 60), (146, 62, 48), (158, 82, 64), (128, 56, 46)])
    tint = reds[generator.integers(0, len(reds), rows * columns)] * generator.normal(1, 0.06, (rows * columns, 1))
    grain = sum(weight * _noise(size, cells, generator) for weight, cells in ((0.05, 20), (0.06, 90), (0.06, 200)))
    pits = np.where(_noise(size, 110, generator) > 2.1, 0.72, 1.0)
    bumps = np.clip(inside, 0, 2.5) + 6 * grain
    slope_y, slope_x = np.gradient(bumps)
    light = 1 + grain + 0.55 * slope_y + 0.35 * slope_x
    brick = tint[number] * (light * pits)[..., None]
    shadow = 1 - 0.22 * np.exp(-np.maximum(-inside, 0) / 0.8)
    mortar = np.array([196, 188, 174]) * ((0.93 + 1.3 * grain) * shadow)[..., None]
    wall = Image.fromarray(_bytes(np.where(inside[..., None] > 0, brick, mortar)))
    return wall.resize((side, side), Image.Resampling.LANCZOS)


def portrait_regions(side: int = 512) -> Image.Image:
    """The index image of portrait.jpg: 1 for the woman with her suit and helmet, 0 behind her."""
    regions = Image.new("L", (side, side), 0)
    ImageDraw.Draw(regions).polygon(OUTLINE, fill=1)
    return regions


def ground(grass: Image.Image, gravel: Image.Image, seed: int = 17) -> tuple[Image.Image, Image.Image]:
    """Lawn, gravel and water side by side, with wavy borders, and their index image: 1, 2 and 3."""
    generator = np.random.default_rng(seed)
    side = grass.width
    y, x = np.mgrid[0:side, 0:side] / side
    first = 0.36 + 0.05 * np.sin(7 * y + 0.5) + 0.025 * np.sin(17 * y)
    second = 0.69 + 0.05 * np.sin(6 * y + 2.6) + 0.02 * np.sin(19 * y + 1)
    regions = Image.fromarray((1 + (x > first) + (x > second)).astype(np.uint8))
    picture = Image.new("RGB", grass.size)
    for value, material in enumerate((lawn(grass), pebbles(gravel), water(side, generator)), start=1):
        picture.paste(material, mask=regions.point(lambda v, value=value: 255 * (v == value)))
    return picture, regions


def lawn(grass: Image.Image) -> Image.Image:
    """The grey photograph of grass, tinted green."""
    return ImageOps.colorize(ImageOps.autocontrast(grass, 0.5), "#141f0a", "#d8e39a", "#5c8a30")


def pebbles(gravel: Image.Image) -> Image.Image:
    """The grey photograph of gravel, tinted a warm grey."""
    return ImageOps.colorize(ImageOps.autocontrast(gravel, 0.5), "#1d1813", "#f4ebdb", "#9c8b75")


def water(side: int, generator: np.random.Generator) -> Image.Image:
    """Blue water with small waves that catch the light."""
    y, _ = np.mgrid[0:side, 0:side] / side
    tone = np.zeros((side, side))
    for count, bend, weight in ((17, 0.035, 0.5), (29, 0.022, 0.3), (47, 0.014, 0.2)):
        tone += weight * np.sin(2 * np.pi * count * (y + bend * _noise(side, count // 3, generator)))
    tone = 0.40 + 0.34 * tone + 0.06 * _noise(side, 5, generator)
    return Image.fromarray(_bytes(_ramp(tone + 0.5 * np.clip(tone - 0.62, 0, 1), WATER)))


def layout(width: int = 384, height: int = 256) -> Image.Image:
    """A garden in the numbers of ground_regions: a path of gravel (2) through grass (1), past a pond (3)."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    values = np.ones((height, width), dtype=np.uint8)
    middle = 0.30 * width + 62 * np.sin(y / 47 + 0.4) + 0.35 * (height - y)
    values[np.abs(x - middle) < 20 + 0.05 * y] = 2
    right, down = x - 0.79 * width, y - 0.62 * height
    turn = np.arctan2(down, right)
    shore = 1 + 0.12 * np.sin(2 * turn + 1) + 0.07 * np.sin(3 * turn) + 0.03 * np.sin(7 * turn)
    values[np.hypot(right / 62, down / 48) < shore] = 3
    return Image.fromarray(values)


def torn(gravel: Image.Image) -> Image.Image:
    """Gravel with a hole and a scratch, where alpha is 0 and the colour is lost."""
    side = gravel.width
    y, x = np.mgrid[0:side, 0:side].astype(np.float64)
    right, down = x - 100, y - 110
    turn = np.arctan2(down, right)
    edge = 34 + 5 * np.sin(2 * turn + 0.7) + 4 * np.sin(3 * turn) + 2.5 * np.sin(5 * turn + 2) + np.sin(11 * turn)
    hole = np.hypot(right, down) < edge
    along = 196 + 14 * np.sin(y / 31) + 3 * np.sin(y / 9)
    hole |= (np.abs(x - along) < 3) & (y > 34) & (y < 226)
    picture = np.asarray(pebbles(gravel).convert("RGBA")).copy()
    picture[hole] = 0
    return Image.fromarray(picture)


def cobbles(side: int = 128, seed: int = 8) -> dict[str, Image.Image]:
    """The maps of a pavement of rounded stones in a bed of sand, by name; the normals' green points up."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] + 0.5
    rows, columns = side // 18 + 3, side // 22 + 3
    row, column = np.mgrid[-1 : rows - 1, -1 : columns - 1]
    middles = np.stack([18 * row + 9.0, 22 * column + 11.0 * (row % 2)]) + generator.uniform(-3.5, 3.5, (2, *row.shape))
    distances = np.hypot(*(np.stack([y, x])[:, :, :, None] - middles.reshape(2, 1, 1, -1)))
    order = np.argsort(distances, axis=2)[:, :, :2]
    stone = order[:, :, 0]
    nearest, next_one = np.take_along_axis(distances, order, axis=2).transpose(2, 0, 1)
    # Stones are cut where two middles are as near, less the joint between them, and where they would be too long.
    inside = np.clip(
        (np.minimum(next_one - nearest, 24 - 2 * nearest) + _noise(side, side // 6, generator) - 3) / 9, 0, 1
    )
    lift, tone = generator.uniform(0, 0.22, rows * columns), generator.uniform(0, 1, rows * columns)
    fine, rough = _noise(side, side // 2, generator), _noise(side, side // 5, generator)
    dome = np.sqrt(1 - (1 - inside) ** 2)
    height = np.where(inside > 0, 0.2 + (0.52 + lift[stone]) * dome, 0.2) + np.where(inside > 0, 0.012, 0.02) * rough
    height = np.clip(height + 0.006 * fine, 0, 1)
    falls, rises = np.gradient(7 * height)
    normals = np.stack([-rises, falls, np.ones_like(height)], axis=-1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    around = np.asarray(Image.fromarray(_bytes(255 * height)).filter(ImageFilter.GaussianBlur(5))) / 255
    occlusion = np.clip(1 - 2.2 * np.clip(around - height, 0, 1), 0.25, 1)
    granite = _ramp(tone[stone], ("#5d6670", "#8b8d8c", "#a8977f", "#77523f", "#9fa3a8"))
    sand = _ramp(np.clip(0.5 + 0.25 * rough, 0, 1), ("#4a3f2f", "#6d5d44", "#857253"))
    on_stone = np.clip(3 * inside, 0, 1)[:, :, None]
    albedo = (sand + on_stone * (granite - sand)) * (1 + (0.05 * fine + 0.04 * rough)[:, :, None])
    roughness = np.clip(0.92 - on_stone[:, :, 0] * (0.32 + 0.16 * dome) + 0.03 * rough, 0, 1)
    return {
        "albedo": Image.fromarray(_bytes(albedo)),
        "normal": Image.fromarray(_bytes(127.5 * normals + 128)),
        "height": Image.fromarray((65535 * height).astype(np.uint16)),
        "roughness": Image.fromarray(_bytes(255 * roughness)),
        "occlusion": Image.fromarray(_bytes(255 * occlusion)),
    }


def _box(x: float, y: float, radius: float, scale: int) -> tuple[float, float, float, float]:
    return tuple(scale * v for v in (x - radius, y - radius, x + radius, y + radius))


def _noise(side: int, cells: int, generator: np.random.Generator) -> np.ndarray:
    """Smooth noise (side, side) of about unit size, whose bumps are side / cells pixels apart."""
    grid = Image.fromarray(generator.standard_normal((cells + 2, cells + 2)).astype(np.float32))
    smooth = grid.resize((side, side), Image.Resampling.BICUBIC, box=(1, 1, cells + 1, cells + 1))
    return np.asarray(smooth, dtype=np.float64)


def _ramp(tone: np.ndarray, colours: tuple[str, ...]) -> np.ndarray:
    """Colours (..., 3) of the tones, interpolated between colours that lie evenly from 0 to 1."""
    steps = np.linspace(0, 1, len(colours))
    table = np.array([Image.new("RGB", (1, 1), colour).getpixel((0, 0)) for colour in colours])
    return np.stack([np.interp(tone, steps, channel) for channel in table.T], axis=-1)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)


def _save(image: Image.Image, name: str) -> None:
    """Write the picture, unless the file already holds its pixels."""
    memory = io.BytesIO()
    options = {"quality": 92} if name.endswith(".jpg") else {}
    image.save(memory, "JPEG" if options else "PNG", optimize=True, **options)
    path = FOLDER / name
    if path.exists():
        with Image.open(path) as old, Image.open(memory) as new:
            if old.mode == new.mode and old.size == new.size and old.tobytes() == new.tobytes():
                return
    path.write_bytes(memory.getvalue())


def main() -> None:
    """Write the pictures beside this file."""
    from skimage import data

    photographs = {name: Image.fromarray(getattr(data, name)()).reduce(2) for name in ("grass", "gravel", "brick")}
    for name, image in photographs.items():
        _save(image, f"{name}.png")
    _save(Image.fromarray(data.hubble_deep_field()).crop((560, 520, 816, 776)), "galaxies.png")
    _save(buttons(), "buttons.png")
    _save(weave(), "weave.png")
    _save(tiles(), "tiles.png")
    for name, image in cobbles().items():
        _save(image, f"cobbles_{name}.png")
    _save(strokes(), "strokes.png")
    _save(ink(), "ink.png")
    _save(Image.fromarray(data.immunohistochemistry()).crop((230, 20, 486, 276)), "tissue.png")
    _save(Image.fromarray(data.astronaut()), "portrait.jpg")
    _save(portrait_regions(), "portrait_regions.png")
    _save(Image.fromarray(data.chelsea()), "cat.jpg")
    picture, regions = ground(photographs["grass"], photographs["gravel"])
    _save(picture, "ground.png")
    _save(regions, "ground_regions.png")
    _save(layout(), "layout.png")
    _save(torn(photographs["gravel"]), "torn.png")


if __name__ == "__main__":
    main()
