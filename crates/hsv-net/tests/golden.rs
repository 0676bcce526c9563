//! G_B against the golden files.

use candle_core::{DType, Result, Tensor};
use colormamba_hsv_net::HsvNet;
use colormamba_layers::Params;
use colormamba_testkit::{Fixture, Map, assert_close, cotangent, device, relative_l2_map};

/// Compares outputs, loss and gradient norms; returns how far the norms are off, in order.
fn compare(dtype: DType, outputs_within: f64) -> Result<Vec<f64>> {
    let fixture = Fixture::load("hsv_net")?;
    let params = Params::new(0, dtype, &device());
    let net = HsvNet::new(&params.root(), 8)?;
    params.fill(|name, shape| fixture.weight(name, shape)?.to_dtype(dtype))?;
    let input = |name: &str| fixture.get(name)?.to_dtype(dtype);
    let out = net.forward(&input("in.gray")?, &input("in.hsv")?)?;
    let [f1, f2, f3, f4] = out.features;
    let outputs = [out.hsv, f1, f2, f3, f4];
    for (i, out) in outputs.iter().enumerate() {
        let want = fixture.get(&format!("out.{i}"))?.to_dtype(dtype)?;
        assert_close(&format!("hsv_net {dtype:?} out.{i}"), out, &want, outputs_within)?;
    }
    let want = Fixture::load("hsv_net_grad")?;
    let mut loss_value = 0.0;
    for (i, out) in outputs.iter().enumerate() {
        let product = out.value().mul(&cotangent(&format!("{}.cotangent.{i}", fixture.name), out.value())?)?;
        loss_value += product.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
    }
    let want_loss = want.get("loss")?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?[0];
    // The loss is a sum of means that almost cancel, so it is compared with the size of its parts (about 1).
    assert!((loss_value - want_loss).abs() < 1e-6, "{loss_value} {want_loss}");
    let grads = fixture.gradients(&outputs)?;
    let mut norms = Map::new();
    for (name, var) in params.trainable() {
        let grad = grads.get(&var).unwrap_or_else(|| panic!("{name} gets no gradient"));
        norms.insert(name, grad.to_dtype(DType::F64)?.sqr()?.sum_all()?.sqrt()?);
    }
    let want: Map = want.under("gradnorm.param.");
    let want = want.into_iter().map(|(k, v)| Ok((k, v.reshape(())?))).collect::<Result<Map>>()?;
    assert_eq!(norms.len(), want.len());
    let mut errors: Vec<f64> = relative_l2_map(&norms, &want)?.into_values().collect();
    errors.sort_by(f64::total_cmp);
    Ok(errors)
}

/// Leaky ReLUs and max pooling make kinks, and biases before a norm sum gradients that almost cancel: moving the input by
/// 1e-7 of itself moves norms of an f64 run by up to 1.4e-3 (90 %) and 3.3e-3 (worst), of an f32 run by 1.8e-3 and 1.2e-2. So
/// the formulas are checked in f64, and f32 to a little more than that.
#[test]
fn outputs_and_gradient_norms() -> Result<()> {
    for (dtype, outputs, ninety, worst) in [(DType::F64, 1e-5, 3e-4, 1e-3), (DType::F32, 1e-5, 2e-3, 1.5e-2)] {
        let errors = compare(dtype, outputs)?;
        let seen = (errors[errors.len() * 9 / 10], errors[errors.len() - 1]);
        println!("hsv_net {dtype:?} gradient norms: 90 % within {:.1e}, worst {:.1e}", seen.0, seen.1);
        assert!(seen.0 <= ninety && seen.1 <= worst, "{dtype:?}: 90 % within {:e}, worst {:e}", seen.0, seen.1);
    }
    Ok(())
}

#[test]
fn edge_layers_two_to_five_start_as_the_colour_layers() -> Result<()> {
    let params = Params::new(3, DType::F32, &device());
    HsvNet::new(&params.root(), 4)?;
    let tensors = params.tensors();
    let values = |name: &str| -> Result<Vec<f32>> { tensors[name].flatten_all()?.to_vec1() };
    let mut compared = 0;
    for name in tensors.keys().filter(|n| n.contains("_conv_edge.")) {
        let same = values(name)? == values(&name.replace("_edge", "")).unwrap_or_default();
        let constant = values(name)?.iter().all(|v| *v == values(name).unwrap_or_default()[0]);
        if !name.starts_with("layer1_") {
            assert!(same, "{name}");
            compared += 1;
        } else if !constant {
            assert!(!same, "{name}");
        }
    }
    assert!(compared > 50);
    Ok(())
}

#[test]
fn non_contiguous_input_changes_nothing() -> Result<()> {
    let params = Params::new(3, DType::F32, &device());
    let net = HsvNet::new(&params.root().frozen(), 4)?;
    let gray = colormamba_testkit::unit_image("gray", (1, 1, 32, 48))?;
    let hsv = colormamba_testkit::unit_image("hsv", (1, 3, 32, 48))?;
    let strided = |x: &Tensor| x.transpose(2, 3)?.contiguous()?.transpose(2, 3);
    let a = net.forward(&gray, &hsv)?.hsv.value().flatten_all()?.to_vec1::<f32>()?;
    let b = net.forward(&strided(&gray)?, &strided(&hsv)?)?.hsv.value().flatten_all()?.to_vec1::<f32>()?;
    assert_eq!(a, b);
    Ok(())
}
