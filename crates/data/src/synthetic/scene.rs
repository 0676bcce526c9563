//! Composition of the scenes.

use image::{GrayImage, RgbImage};

use super::canvas::{Canvas, Light};
use super::ground::{Cover, EYE, Ground, Road, surfaces};
use super::materials::{
    ASPHALT, AUTUMN, BASALT, CONIFER, CROP, DECIDUOUS, DRY_GRASS, GRASS, GRAVEL, LIMESTONE, Material, SAND, SANDSTONE,
    SHRUB, SNOW, SOIL, Surface, WHITE_PAINT,
};
use super::noise::Dice;
use super::objects::{House, Spot, Tree};
use super::sensor::develop;
use super::terrain::{Ridge, Water};

/// Samples per pixel and direction.
const OVERSAMPLING: usize = 2;

/// The near-infrared and the colour photograph of one scene.
pub(super) fn photograph(width: usize, height: usize, dice: &mut Dice) -> (GrayImage, RgbImage) {
    let canvas = Canvas::new(width * OVERSAMPLING, height * OVERSAMPLING);
    let painted = Scene::paint(canvas, dice);
    develop(&painted.shrink(OVERSAMPLING), dice)
}

enum Thing {
    Tree(Tree),
    House(House),
}

struct Scene<'a> {
    canvas: Canvas,
    light: Light,
    things: Vec<(Spot, Thing)>,
    dice: &'a mut Dice,
}

impl<'a> Scene<'a> {
    fn paint(canvas: Canvas, dice: &'a mut Dice) -> Canvas {
        let light = Light::new(dice);
        let mut scene = Self { canvas, light, things: Vec::new(), dice };
        match scene.dice.count(0, 4) {
            0 => scene.mountains(),
            1 => scene.fields(),
            2 => scene.forest(),
            3 => scene.lake(),
            _ => scene.village(),
        }
        scene.canvas
    }

    fn sky(&mut self, horizon: f32) {
        let (aspect, pixel) = (self.canvas.aspect(), self.canvas.pixel());
        let light = &self.light;
        self.canvas.paint([0.0, 0.0, aspect, horizon + 0.01], |u, v, _| Some(light.sky(u, v, horizon, pixel)));
    }

    /// Rock and snow above, forest and meadows below.
    fn peaks(&mut self, horizon: f32, layers: usize) {
        let dice = &mut *self.dice;
        let rocks: [&'static Material; 3] = [&LIMESTONE, &BASALT, &SANDSTONE];
        let rock = dice.pick(&rocks);
        let snow = dice.chance(0.55);
        let rise = dice.range(0.35, 0.6) * horizon / 0.55;
        for layer in 0..layers {
            let near = (layer + 1) as f32 / layers as f32;
            let distance = dice.range(0.25, 0.5) * (1.15 - near);
            let rise = rise * (1.15 - 0.5 * near);
            let summits = dice.range(1.2, 2.6) * near.max(0.6);
            let mut ridge = Ridge::new(horizon + 0.02, rise, summits, distance, 1.0 - 0.5 * near, dice);
            if snow && layer + 1 < layers.max(2) {
                ridge = ridge.zone(9.0, &SNOW, dice);
            }
            let forest: [&'static Material; 2] = [&CONIFER, &SHRUB];
            let wooded = dice.range(0.15, 0.45) + 0.15 * near;
            ridge = ridge.zone(0.62, rock, dice).zone(wooded, dice.pick(&forest), dice);
            ridge.zone(0.18, &GRASS, dice).draw(&mut self.canvas, &self.light, horizon);
        }
    }

    /// Wooded or grassy hills.
    fn hills(&mut self, horizon: f32, layers: usize) {
        let dice = &mut *self.dice;
        let kinds: [&'static Material; 5] = [&CONIFER, &DECIDUOUS, &GRASS, &DRY_GRASS, &SHRUB];
        for layer in 0..layers {
            let near = (layer + 1) as f32 / layers as f32;
            let rise = dice.range(0.08, 0.22);
            let mut ridge = Ridge::new(horizon + 0.01, rise, dice.range(0.8, 2.0), 0.35 * (1.2 - near), 0.1, dice);
            ridge = ridge.zone(9.0, dice.pick(&kinds), dice);
            ridge.zone(0.35, dice.pick(&kinds), dice).draw(&mut self.canvas, &self.light, horizon);
        }
    }

    fn meadow(&mut self) -> Cover {
        let first: [&'static Material; 4] = [&GRASS, &GRASS, &DRY_GRASS, &GRAVEL];
        let second: [&'static Material; 5] = [&DRY_GRASS, &GRASS, &SOIL, &SHRUB, &SAND];
        let kinds = [self.dice.pick(&first), self.dice.pick(&second), self.dice.pick(&second)];
        Cover::Patches(surfaces(&kinds, self.dice))
    }

    fn path(&mut self) -> Option<Road> {
        let dice = &mut *self.dice;
        let kinds: [&'static Material; 3] = [&GRAVEL, &SOIL, &SAND];
        dice.chance(0.5).then(|| Road {
            surface: Surface::new(dice.pick(&kinds), dice),
            marking: None,
            half_width: dice.range(0.10, 0.22),
            offset: dice.signed() * 0.25,
            slope: dice.signed() * 0.25,
        })
    }

    fn street(&mut self) -> Road {
        let dice = &mut *self.dice;
        Road {
            surface: Surface::new(&ASPHALT, dice),
            marking: dice.chance(0.7).then(|| Surface::new(&WHITE_PAINT, dice)),
            half_width: dice.range(0.35, 0.6),
            offset: dice.signed() * 0.3,
            slope: dice.signed() * 0.15,
        }
    }

    fn ground(&mut self, horizon: f32, cover: Cover, road: Option<Road>) -> Ground {
        let ground = Ground::new(horizon, cover, road, self.dice);
        ground.draw(&mut self.canvas, &self.light);
        ground
    }

    /// Adds trees between two distances; `heights` in units of the ground.
    fn trees(&mut self, ground: &Ground, count: usize, away: [f32; 2], heights: [f32; 2], conifers: f32) {
        let aspect = self.canvas.aspect();
        let autumn = self.dice.chance(0.15);
        for _ in 0..count {
            let dice = &mut *self.dice;
            // Uniform in the picture rather than on the ground.
            let distance = 1.0 / dice.range(1.0 / away[1], 1.0 / away[0]);
            let spot = ground.spot(dice.range(-0.05, 1.05) * aspect, distance);
            let cone = dice.chance(conifers);
            let broad = if autumn && dice.chance(0.6) { &AUTUMN } else { &DECIDUOUS };
            let height = dice.range(heights[0], heights[1]);
            let tree = Tree::new(if cone { &CONIFER } else { broad }, cone, height, dice);
            if !ground.on_road(spot.foot[0], distance, aspect) {
                self.things.push((spot, Thing::Tree(tree)));
            }
        }
    }

    fn bushes(&mut self, ground: &Ground, count: usize, away: [f32; 2]) {
        let aspect = self.canvas.aspect();
        for _ in 0..count {
            let dice = &mut *self.dice;
            let distance = dice.range(away[0], away[1]);
            let spot = ground.spot(dice.unit() * aspect, distance);
            let height = dice.range(0.12, 0.3);
            let bush = Tree::new(&SHRUB, false, height, dice);
            if !ground.on_road(spot.foot[0], distance, aspect) {
                self.things.push((spot, Thing::Tree(bush)));
            }
        }
    }

    /// Draws the things that stand about, shadows first, then from far to near.
    fn stand(&mut self, horizon: f32) {
        let mut things = std::mem::take(&mut self.things);
        things.sort_by(|(a, _), (b, _)| a.size.total_cmp(&b.size));
        let (canvas, light) = (&mut self.canvas, &self.light);
        let lit = canvas.clone();
        for (spot, thing) in &things {
            match thing {
                Thing::Tree(tree) => tree.cast(canvas, &lit, light, *spot),
                Thing::House(house) => house.cast(canvas, &lit, light, *spot),
            }
        }
        for (spot, thing) in &things {
            match thing {
                Thing::Tree(tree) => tree.draw(canvas, light, *spot),
                Thing::House(house) => house.draw(canvas, light, *spot, horizon),
            }
        }
    }

    fn count(&mut self, per_square: f32) -> usize {
        (per_square * self.canvas.aspect().clamp(0.3, 6.0) * self.dice.range(0.7, 1.3)) as usize
    }

    fn mountains(&mut self) {
        let horizon = self.dice.range(0.58, 0.78);
        let layers = self.dice.count(2, 3);
        self.sky(horizon);
        self.peaks(horizon, layers);
        let (cover, path) = (self.meadow(), self.path());
        let ground = self.ground(horizon, cover, path);
        let (far, near) = (self.count(26.0), self.count(4.0));
        self.trees(&ground, far, [7.0, 16.0], [0.7, 1.5], 0.9);
        self.trees(&ground, near, [1.8, 6.0], [0.5, 1.0], 0.9);
        let bushes = self.count(5.0);
        self.bushes(&ground, bushes, [1.2, 4.0]);
        self.stand(horizon);
    }

    fn fields(&mut self) {
        let horizon = self.dice.range(0.35, 0.58);
        let layers = self.dice.count(1, 2);
        self.sky(horizon);
        self.hills(horizon, layers);
        let kinds: [&'static Material; 7] = [&CROP, &GRASS, &SOIL, &DRY_GRASS, &CROP, &SOIL, &DRY_GRASS];
        let cross = self.dice.range(-0.5, 0.5);
        let direction = [cross, (1.0 - cross * cross).sqrt()];
        let size = [self.dice.range(3.0, 9.0), self.dice.range(0.9, 2.5)];
        let cover = Cover::Fields { surfaces: surfaces(&kinds, self.dice), direction, size };
        let path = self.path();
        let ground = self.ground(horizon, cover, path);
        let conifers = self.dice.range(0.0, 0.4);
        let (line, lone) = (self.count(24.0), self.count(3.0));
        let away = self.dice.range(6.0, 18.0);
        self.trees(&ground, line, [away, away * 1.1], [0.9, 1.8], conifers);
        self.trees(&ground, lone, [2.0, 6.0], [0.8, 1.4], 0.1);
        self.stand(horizon);
    }

    fn forest(&mut self) {
        let horizon = self.dice.range(0.5, 0.68);
        self.sky(horizon);
        self.hills(horizon, 1);
        let (cover, path) = (self.meadow(), self.path());
        let ground = self.ground(horizon, cover, path);
        let conifers = self.dice.range(0.0, 1.0);
        let (back, middle, front) = (self.count(34.0), self.count(14.0), self.count(2.0));
        self.trees(&ground, back, [5.0, 9.0], [1.6, 3.0], conifers);
        self.trees(&ground, middle, [3.2, 5.0], [1.0, 2.2], conifers);
        self.trees(&ground, front, [1.6, 3.0], [0.7, 1.5], conifers);
        let bushes = self.count(8.0);
        self.bushes(&ground, bushes, [1.5, 4.0]);
        self.stand(horizon);
    }

    fn lake(&mut self) {
        let horizon = self.dice.range(0.38, 0.58);
        self.sky(horizon);
        if self.dice.chance(0.5) {
            self.peaks(horizon, 2);
        } else {
            self.hills(horizon, 2);
        }
        let cover = self.meadow();
        let ground = self.ground(horizon, cover, None);
        let conifers = self.dice.range(0.0, 1.0);
        let shore = self.count(26.0);
        self.trees(&ground, shore, [9.0, 15.0], [0.8, 2.0], conifers);
        self.stand(horizon);
        let near = self.dice.range(0.75, 1.1);
        Water::new(horizon + 0.045, near, self.dice).draw(&mut self.canvas, &self.light);
        let bushes = self.count(5.0);
        if near < 0.9 {
            let away = |v: f32| EYE / (v - horizon);
            self.bushes(&ground, bushes, [away(1.1), away(near + 0.09)]);
        }
        self.stand(horizon);
    }

    fn village(&mut self) {
        let horizon = self.dice.range(0.42, 0.58);
        self.sky(horizon);
        self.hills(horizon, 2);
        let (cover, street) = (self.meadow(), self.street());
        let ground = self.ground(horizon, cover, Some(street));
        let aspect = self.canvas.aspect();
        for _ in 0..self.count(5.0).max(2) {
            let away = 1.0 / self.dice.range(1.0 / 9.0, 1.0 / 3.0);
            let gap = self.dice.range(0.8, 3.0);
            let side = if self.dice.chance(0.5) { gap } else { -gap };
            let spot = ground.spot(ground.beside_road(side, away, aspect), away);
            let house = House::new(self.dice);
            self.things.push((spot, Thing::House(house)));
        }
        let conifers = self.dice.range(0.0, 0.5);
        let (back, front) = (self.count(16.0), self.count(3.0));
        self.trees(&ground, back, [5.0, 12.0], [0.8, 1.8], conifers);
        self.trees(&ground, front, [1.8, 4.0], [0.6, 1.4], conifers);
        let bushes = self.count(4.0);
        self.bushes(&ground, bushes, [1.5, 4.0]);
        self.stand(horizon);
    }
}
