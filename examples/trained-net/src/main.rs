//! A trained net in a program that knows nothing of training: it reads what `fw-train export` has written, and answers questions as
//! `fw-train sample` does.
//!
//! ```sh
//! cargo run --release -p trained-net -- crates/fw-train/pretrained/fast-weights-retrieval.safetensors 'c9k8j3f1??c' 'a1b2c3d4??d'
//! ```

use std::error::Error;

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};
use fw_core::Inputs;
use fw_core::weights::Weights;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments
        .next()
        .ok_or("give a file, then questions such as c9k8j3f1??c")?;
    let device = Device::flex();
    let net = Weights::open(file)?.sequence_model(&device)?;
    for question in arguments {
        // The task's tokens: letters, then digits, then the question mark.
        let token = |character: u8| match character {
            b'a'..=b'z' => Ok(i64::from(character - b'a')),
            b'0'..=b'9' => Ok(26 + i64::from(character - b'0')),
            b'?' => Ok(36),
            _ => Err(format!(
                "{question}: a question has letters, digits and question marks"
            )),
        };
        let tokens = question.bytes().map(token).collect::<Result<Vec<_>, _>>()?;
        let shape = [1, tokens.len()];
        let tokens = Tensor::from_data(TensorData::new(tokens, shape), &device);
        let shares = softmax(net.logits(Inputs::Tokens(tokens)), 2);
        let shares: Vec<f32> = shares.try_into_vec_as()?;
        let likeliest = (0..10).max_by(|one, other| shares[*one].total_cmp(&shares[*other]));
        let answer = likeliest.expect("there are ten digits");
        println!("{question}  {answer}  {:.1} %", 100.0 * shares[answer]);
    }
    Ok(())
}
