use proof_system::{field::*, kernels::Isa, lookup::*, multilinear::ExtColumn, transcript::*};
fn main() {
    use proof_system::commitment::*;
    for isa in Isa::available() {
        let n = 1usize << 25;
        let shape = Shape::of(n, 18, 203, 16);
        let v: Vec<i32> = (0..n as i32).map(|i| i.wrapping_mul(0x9E3779B9u32 as i32) >> 12).collect();
        let t = std::time::Instant::now();
        let c = Committed::new(v, shape, isa);
        println!("{} commit {:.1} ns/el", isa.name(), t.elapsed().as_secs_f64() * 1e9 / n as f64);
        let mut tr = Transcript::new(b"");
        let point = tr.challenges(Label::Claims, shape.row_bits() as usize);
        let t = std::time::Instant::now();
        let o = c.open(&point, &mut tr);
        println!("{} open {:.2} ns/el", isa.name(), t.elapsed().as_secs_f64() * 1e9 / n as f64);
        std::hint::black_box(o);
    }

    for isa in Isa::available() {
        for bits in [16u32, 18, 20, 22] {
            let n = 1usize << bits;
            let q = ExtColumn {
                c0: (0..n as u64).map(|i| Base::new(i.wrapping_mul(0x9E3779B97F4A7C15))).collect(),
                c1: vec![Base::new(12345); n],
            };
            let mut best = f64::MAX;
            for _ in 0..5 {
                let leaves = Fractions { numerators: Numerators::Ones, denominators: q.clone() };
                let t = std::time::Instant::now();
                let r = prove(leaves, isa, &mut Transcript::new(b"x"));
                best = best.min(t.elapsed().as_secs_f64());
                std::hint::black_box(r);
            }
            println!("{} 2^{bits}: {:.1} ns/leaf", isa.name(), best * 1e9 / n as f64);
        }
    }
}
