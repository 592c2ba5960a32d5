//! OpenSSL's client and server: of what is encrypted, the name that was asked for.

use super::{are_the_same, lines, on_stage, run, serve};

#[test]
fn what_openssl_says_in_the_clear_is_told_and_nothing_of_the_rest() {
    on_stage(&["openssl", "tcpdump"], |stage| {
        let (key, certificate) = (stage.path("key.pem"), stage.path("certificate.pem"));
        let subject =
            ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=shop"];
        run(&stage.web, "openssl", &[&subject[..], &["-keyout", &key, "-out", &certificate]].concat());
        let mut command = stage.web.command("openssl");
        let address = format!("{}:4433", stage.web.ip4);
        command.args([
            "s_server",
            "-accept",
            &address,
            "-key",
            &key,
            "-cert",
            &certificate,
            "-www",
            "-alpn",
            "h2,http/1.1",
        ]);
        let _server = serve(&stage.web, command, 4433);
        let (told, captured) = stage.told(&[], || {
            for arguments in [
                &["-servername", "one.shop.test", "-alpn", "h2,http/1.1"][..],
                &["-servername", "two.shop.test", "-tls1_2"],
                &["-noservername"],
                // Three kilobytes of protocols: a ClientHello in several segments.
                &[
                    "-servername",
                    "three.shop.test",
                    "-alpn",
                    &format!("{},http/1.1", vec!["a-protocol-of-some-length"; 120].join(",")),
                ],
            ] {
                run(&stage.cart, "openssl", &[&["s_client", "-connect", &address], arguments].concat());
            }
        });
        let lines = lines(&told);
        assert_eq!(
            lines.get(..3),
            Some(
                &["> tls one.shop.test h2,http/1.1 1.3", "> tls two.shop.test  1.2", "> tls   1.3"].map(str::to_owned)
                    [..]
            ),
            "{lines:#?}"
        );
        assert_eq!(lines.len(), 4, "{lines:#?}");
        assert!(lines[3].starts_with("> tls three.shop.test a-protocol-of-some-length,"), "{lines:#?}");
        // A line has room for some of what was offered; what was captured was not made a line of.
        let short =
            |lines: Vec<String>| -> Vec<String> { lines.iter().map(|line| line.chars().take(200).collect()).collect() };
        let lines = short(lines);
        are_the_same(&short(captured.lines()), &lines, "captured");
        are_the_same(&short(captured.lines_disturbed(50)), &lines, "disturbed");
    });
}
