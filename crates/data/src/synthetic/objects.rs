//! Things that stand on the ground: trees and houses.

use super::canvas::{Canvas, Light, normalize};
use super::materials::{
    BARK, BLUE_PAINT, BRICK, Bands, CONCRETE, GLASS, Material, ROOF_TILE, SLATE, Surface, WHITE_PAINT, YELLOW_PAINT,
    mix, scale,
};
use super::noise::{Dice, fractal};

/// Where a thing stands and how large it looks.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    /// Foot of the thing in the picture.
    pub foot: [f32; 2],
    /// Length in the picture of one unit of the ground there.
    pub size: f32,
    /// Distance, for the haze.
    pub distance: f32,
}

/// A tree or bush: a crown of overlapping balls, or a cone of boughs.
pub(super) struct Tree {
    leaves: Surface,
    bark: Surface,
    height: f32,
    spread: f32,
    cone: bool,
    seed: u32,
    /// Centres (relative to the crown's box, up positive) and radii.
    balls: Vec<[f32; 3]>,
}

impl Tree {
    /// A tree of the given height in units of the ground; `cone` for conifers.
    pub fn new(leaves: &'static Material, cone: bool, height: f32, dice: &mut Dice) -> Self {
        let mut balls = Vec::new();
        for _ in 0..dice.count(6, 10) {
            let radius = dice.range(0.22, 0.40);
            let reach = 1.0 - radius;
            let (a, b) = (dice.signed(), dice.signed());
            let pull = 1.0 / (1.0f32).max((a * a + b * b).sqrt());
            balls.push([a * pull * reach, b * pull * reach, radius]);
        }
        balls.push([0.0, 0.0, 0.55]);
        let spread = if cone { dice.range(0.17, 0.26) } else { dice.range(0.32, 0.50) };
        let (leaves, bark) = (Surface::new(leaves, dice), Surface::new(&BARK, dice));
        Self { leaves, bark, height, spread, cone, seed: dice.seed(), balls }
    }

    /// Paints the shadow on the ground; to be done for all things before any is drawn. `lit` is the ground without any
    /// shadow: where shadows overlap, the sun is hidden only once.
    pub fn cast(&self, canvas: &mut Canvas, lit: &Canvas, light: &Light, spot: Spot) {
        let [u, v] = spot.foot;
        let (height, width) = (self.height * spot.size, self.height * self.spread * spot.size);
        let centre = u + 0.5 * light.shadow_slope() * height * 0.7;
        let (rx, ry) = (width + 0.35 * height * light.shadow_slope().abs(), 0.22 * width);
        canvas.paint([centre - rx, v - ry, centre + rx, v + ry], |x, y, _| {
            let (dx, dy) = ((x - centre) / rx, (y - v) / ry);
            let ragged = 0.75 + 0.5 * fractal(x / width * 3.0, y / width * 9.0, 3, 0.0, self.seed);
            (dx * dx + dy * dy < ragged).then(|| mix(lit.sample(x, y), light.shadow(lit.sample(x, y)), 0.85))
        });
    }

    /// Paints the tree.
    pub fn draw(&self, canvas: &mut Canvas, light: &Light, spot: Spot) {
        let (height, radius) = (self.height * spot.size, self.height * self.spread * spot.size);
        let [u, v] = spot.foot;
        let trunk = 0.035 * height;
        let footprint = canvas.pixel() / spot.size;
        canvas.paint([u - trunk, v - 0.45 * height, u + trunk, v], |x, y, _| {
            let across = ((x - u) / trunk).clamp(-1.0, 1.0);
            let normal = [across, 0.0, (1.0 - across * across).sqrt()];
            let albedo = self.bark.at((x - u) / spot.size, (y - v) / spot.size * 0.2, footprint);
            Some(light.through_air(light.shade(albedo, normal, 0.7), spot.distance))
        });
        let top = v - height;
        canvas.paint([u - 1.15 * radius, top - 0.05 * height, u + 1.15 * radius, v], |x, y, _| {
            let (across, down) = ((x - u) / radius, (y - top) / height);
            if !self.may_cover(across, down) {
                return None;
            }
            let rough = fractal(across * 6.0 + 9.0, down * height / radius * 6.0, 3, 0.0, self.seed) - 0.5;
            let normal =
                if self.cone { self.cone_normal(across, down, rough) } else { self.ball_normal(across, down, rough) };
            let normal = normal?;
            let albedo = self.leaves.at((x - u) / spot.size, (y - v) / spot.size, footprint);
            // The inside and the lower parts of a crown see less of the sky and the sun.
            let open = (1.05 - 0.45 * down + 0.9 * rough).clamp(0.15, 1.0);
            let radiance = scale(light.shade(albedo, normal, open), 0.55 + 0.45 * open);
            Some(light.through_air(radiance, spot.distance))
        });
    }

    /// False well outside the crown, whatever its roughness.
    fn may_cover(&self, across: f32, down: f32) -> bool {
        if self.cone { across.abs() < 1.6 * down + 0.1 } else { down < 0.95 }
    }

    fn cone_normal(&self, across: f32, down: f32, rough: f32) -> Option<[f32; 3]> {
        let tiers = (down * 8.0).fract();
        let half = down * (0.70 + 0.35 * tiers) + 0.04;
        let x = across / half;
        let inside = down > 0.0 && down < 0.96 + 0.2 * rough && x.abs() < 1.0 + 1.1 * rough;
        inside.then(|| {
            let x = x.clamp(-1.0, 1.0);
            normalize([x, 0.55 - 0.5 * tiers + rough, (1.0 - x * x).sqrt() + 0.1])
        })
    }

    fn ball_normal(&self, across: f32, down: f32, rough: f32) -> Option<[f32; 3]> {
        let crown = 0.86;
        let up = 1.0 - 2.0 * down / crown;
        let mut best: Option<[f32; 3]> = None;
        let mut front = f32::NEG_INFINITY;
        for &[cx, cy, radius] in &self.balls {
            let (dx, dy) = (across - cx, up - cy);
            let depth = radius * radius * (1.0 + 1.6 * rough) - dx * dx - dy * dy;
            let nearness = depth.max(0.0).sqrt() + 0.3 * (1.0 - cx * cx - cy * cy);
            if depth > 0.0 && nearness > front {
                front = nearness;
                best = Some(normalize([dx + 0.4 * across, dy + 0.4 * up + 0.15, depth.sqrt() + 0.1]));
            }
        }
        best
    }
}

/// A house with a gabled roof, seen from one corner.
pub(super) struct House {
    wall: Surface,
    roof: Surface,
    glass: Surface,
    frame: Surface,
    width: f32,
    depth: f32,
    storeys: usize,
    columns: usize,
    pitch: f32,
    /// +1 if the side wall shows to the right of the gable, -1 to the left.
    side: f32,
    lit: u32,
}

impl House {
    /// A house of one or two storeys.
    pub fn new(dice: &mut Dice) -> Self {
        let walls: [&'static Material; 6] = [&BRICK, &BRICK, &CONCRETE, &WHITE_PAINT, &YELLOW_PAINT, &BLUE_PAINT];
        let roofs: [&'static Material; 3] = [&ROOF_TILE, &ROOF_TILE, &SLATE];
        Self {
            wall: Surface::new(dice.pick(&walls), dice),
            roof: Surface::new(dice.pick(&roofs), dice),
            glass: Surface::new(&GLASS, dice),
            frame: Surface::new(&WHITE_PAINT, dice),
            width: dice.range(0.9, 1.5),
            depth: dice.range(1.0, 2.0),
            storeys: dice.count(1, 2),
            columns: dice.count(2, 3),
            pitch: dice.range(0.35, 0.75),
            side: if dice.chance(0.5) { 1.0 } else { -1.0 },
            lit: dice.seed(),
        }
    }

    fn wall_height(&self) -> f32 {
        0.15 + 0.52 * self.storeys as f32
    }

    /// Paints the shadow on the ground, as for a [`Tree`].
    pub fn cast(&self, canvas: &mut Canvas, lit: &Canvas, light: &Light, spot: Spot) {
        let [u, v] = spot.foot;
        let reach = light.shadow_slope() * self.wall_height() * spot.size;
        let (half, back) = (0.5 * self.width * spot.size, 0.12 * self.depth * spot.size);
        let far = self.side * self.depth * 0.5 * spot.size;
        let corners = [
            [u - half + far.min(0.0), v],
            [u + half + far.max(0.0), v],
            [u + half + far.max(0.0) + reach, v - back],
            [u - half + far.min(0.0) + reach, v - back],
        ];
        canvas.polygon(&corners, |x, y, _| light.shadow(lit.sample(x, y)));
    }

    /// Paints the house; `horizon` is where its receding edges run to.
    pub fn draw(&self, canvas: &mut Canvas, light: &Light, spot: Spot, horizon: f32) {
        let [u, v] = spot.foot;
        let size = spot.size;
        let (half, high) = (0.5 * self.width * size, self.wall_height() * size);
        let rise = self.pitch * half;
        // Receding points move sideways and towards the horizon.
        let recede = |[x, y]: [f32; 2]| [x + self.side * self.depth * 0.5 * size, y + (horizon - y) * 0.16];
        let (left, right) = ([u - half, v], [u + half, v]);
        let (left_eave, right_eave) = ([u - half, v - high], [u + half, v - high]);
        let apex = [u, v - high - rise];
        let (near, near_eave) = if self.side > 0.0 { (right, right_eave) } else { (left, left_eave) };
        let air = |radiance: Bands| light.through_air(radiance, spot.distance);
        let footprint = canvas.pixel() / size;

        let side_wall = [near, near_eave, recede(near_eave), recede(near)];
        let normal = normalize([0.9 * self.side, 0.0, 0.45]);
        canvas.polygon(&side_wall, |x, y, _| {
            let across = (x - near[0]) * self.side / (self.depth * 0.5 * size);
            let base = near[1] + (horizon - near[1]) * 0.16 * across;
            let top = near_eave[1] + (horizon - near_eave[1]) * 0.16 * across;
            let along = across * self.depth / self.width;
            air(self.facade(light, [along, (base - y) / (base - top)], normal, footprint))
        });
        let front = normalize([-0.3 * self.side, 0.0, 0.95]);
        canvas.polygon(&[left, right, right_eave, apex, left_eave], |x, y, _| {
            air(self.facade(light, [(x - left[0]) / (2.0 * half), (v - y) / high], front, footprint))
        });
        let overhang = |[x, y]: [f32; 2]| [x + self.side * 0.08 * half, y + 0.10 * rise];
        let roof = [apex, overhang(near_eave), overhang(recede(near_eave)), recede(apex)];
        let slope = normalize([self.pitch * self.side, 1.0, 0.35]);
        canvas.polygon(&roof, |x, y, _| {
            let (along, down) = ((x - u) / size, (y - apex[1]) / size);
            let course = if (down * 14.0).fract() < 0.25 && footprint < 0.03 { 0.8 } else { 1.0 };
            air(scale(light.shade(self.roof.at(along, down, footprint), slope, 1.0), course))
        });
    }

    /// Radiance of a wall at a place in units of the facade's width and wall height, from its lower left corner.
    fn facade(&self, light: &Light, [x, y]: [f32; 2], normal: [f32; 3], footprint: f32) -> Bands {
        let (column, row) = (x * self.columns as f32, y * self.storeys as f32);
        let (in_column, in_row) = (column.fract(), row.fract());
        let framed = (in_column - 0.5).abs() < 0.24 && (in_row - 0.52).abs() < 0.28 && (0.0..1.0).contains(&y);
        let pane = (in_column - 0.5).abs() < 0.19 && (in_row - 0.52).abs() < 0.23;
        if framed && pane {
            let glint = (self.lit >> ((column as u32 + 4 * row as u32) % 28)) & 3;
            let glass = self.glass.at(x, y, footprint);
            return mix(light.shade(glass, normal, 0.5), light.sky(x, 0.1, 0.4, 0.1), 0.06 * glint as f32);
        }
        let surface = if framed { &self.frame } else { &self.wall };
        let streak = if (y * 26.0 * self.storeys as f32).fract() < 0.2 && footprint < 0.01 { 0.9 } else { 1.0 };
        scale(light.shade(surface.at(x, y, footprint), normal, 1.0), streak)
    }
}
