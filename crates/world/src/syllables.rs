//! Inventories that names are made of; at least a million combinations a kind.

macro_rules! inventory {
    ($(#[$doc:meta])* $name:ident, $count:literal, $($part:literal)*) => {
        $(#[$doc])*
        pub(crate) const $name: [&str; $count] = [$($part),*];
    };
}

inventory!(FIRST_A, 48,
    "Mi" "Ta" "Do" "Lu" "Ve" "Ka" "Jo" "Ri" "Sa" "Ne" "Fa" "Bo" "Gi" "He" "Pa" "Zo" "Ti" "Ma" "De" "Le" "Vi" "Ko" "Ju" "Ro"
    "Se" "Na" "Fe" "Bi" "Ga" "Hi" "Pe" "Za" "Te" "Mo" "Da" "Li" "Va" "Ke" "Ja" "Ra" "So" "Ni" "Fi" "Be" "Ge" "Ha" "Pi" "Ze");
inventory!(FIRST_B, 30,
    "rel" "vin" "sha" "dra" "lo" "na" "mir" "ten" "bel" "rik" "so" "lia" "dan" "ven" "ras" "mo" "va" "lin" "dor" "nel" "ka"
    "rin" "vel" "sa" "mon" "dia" "len" "ris" "ko" "tar");
inventory!(LAST_A, 50,
    "Tov" "Bren" "Hal" "Sor" "Kast" "Mel" "Dun" "Var" "Pel" "Grim" "Los" "Nar" "Quil" "Rost" "Bal" "Fen" "Gar" "Hol" "Jar"
    "Kel" "Lam" "Mor" "Nor" "Ost" "Pav" "Rem" "Sil" "Tal" "Ul" "Vas" "Wen" "Yar" "Zel" "Ard" "Bor" "Cal" "Dav" "Esk" "Fal"
    "Gor" "Hest" "Ing" "Jov" "Kor" "Lind" "Mav" "Nev" "Orl" "Pol" "Rav");
inventory!(LAST_B, 30,
    "an" "ek" "ova" "is" "ard" "en" "or" "ic" "ale" "une" "ato" "berg" "imo" "osk" "ell" "ante" "iri" "uk" "ero" "ad" "ipo"
    "os" "ette" "in" "ay" "off" "um" "ira" "ond" "eth");

inventory!(BRAND_A, 50,
    "Zan" "Kor" "Bel" "Tri" "Vex" "Mun" "Lor" "Fis" "Dax" "Pol" "Quo" "Ser" "Tam" "Ulv" "Wex" "Yor" "Ab" "Bri" "Cor" "Dru"
    "Elk" "Fra" "Gra" "Hux" "Ix" "Jun" "Kal" "Lum" "Max" "Nim" "Orb" "Pra" "Qua" "Rex" "Sto" "Tro" "Urk" "Vor" "Wis" "Xan"
    "Yel" "Zim" "Bra" "Clo" "Dre" "Flo" "Glo" "Kri" "Plo" "Sno");
inventory!(BRAND_B, 30,
    "lo" "mi" "ta" "re" "du" "ka" "ni" "so" "ve" "ro" "la" "be" "di" "fu" "ga" "he" "jo" "ke" "mo" "na" "pe" "ri" "sa" "ti"
    "vu" "wa" "zo" "ce" "li" "no");
inventory!(BRAND_C, 24,
    "ra" "mo" "tek" "lin" "dor" "via" "pan" "sun" "dex" "ron" "bit" "gel" "nox" "tra" "vel" "dan" "kis" "lux" "mar" "pon"
    "rix" "tan" "vo" "zen");
inventory!(PRODUCT_NOUNS, 30,
    "kettle" "lamp" "chair" "clock" "bicycle" "radio" "backpack" "tent" "blender" "camera" "guitar" "mirror" "toaster"
    "ladder" "wagon" "table" "helmet" "kite" "telescope" "umbrella" "sofa" "wallet" "teapot" "scooter" "heater" "printer"
    "canoe" "drum" "vase" "stool");

inventory!(PLACE_PREFIXES, 25,
    "Port" "New" "Old" "Upper" "Lower" "North" "South" "East" "West" "Lake" "Fort" "Mount" "Saint" "Great" "Little" "Glen"
    "Cape" "High" "Long" "Grand" "Fair" "Castle" "Bay" "Inner" "Far");
inventory!(PLACE_A, 48,
    "Al" "Bri" "Cas" "Del" "Em" "Far" "Gol" "Har" "Isk" "Jel" "Kar" "Lin" "Mar" "Nor" "Oss" "Pel" "Quin" "Ros" "Sel" "Tor"
    "Ul" "Ven" "Wil" "Yas" "Zar" "Ald" "Bor" "Cre" "Dun" "Est" "Fal" "Gren" "Hos" "Ill" "Kem" "Lor" "Mil" "Nav" "Orm" "Pris"
    "Rud" "Sten" "Tam" "Urs" "Vol" "Wen" "Yr" "Zol");
inventory!(PLACE_B, 30,
    "mo" "va" "ri" "ne" "lo" "da" "ke" "sa" "be" "ta" "vi" "re" "no" "la" "di" "ma" "ro" "li" "du" "se" "ga" "ni" "ve" "to"
    "na" "ra" "mi" "le" "so" "te");
inventory!(PLACE_C, 30,
    "ra" "ton" "mar" "lia" "wick" "ster" "nia" "ford" "la" "den" "mere" "stad" "gan" "rin" "via" "dor" "les" "mond" "nau"
    "holm" "sey" "tia" "ros" "vik" "na" "thal" "cor" "len" "dale" "by");

inventory!(PROCEDURE_A, 50,
    "Ko" "Ra" "Be" "Ti" "Mu" "Lo" "Fi" "Sa" "Du" "Ve" "Ga" "Ni" "Po" "Ke" "Ri" "Bo" "Ta" "Me" "Su" "Jo" "La" "Di" "Hu" "Na"
    "Vo" "Pe" "Ro" "Ze" "Fa" "Lu" "Bi" "Mo" "Te" "Go" "Ka" "Ru" "Se" "Do" "Wi" "Ha" "Tu" "Ne" "Pa" "Vi" "Ju" "Le" "Za" "Bu"
    "Mi" "Fo");
inventory!(PROCEDURE_B, 30,
    "ra" "lo" "ni" "ve" "ta" "mi" "ke" "so" "du" "ri" "na" "be" "la" "go" "te" "zu" "pa" "li" "mo" "re" "da" "fi" "su" "ne"
    "ka" "ro" "ba" "ti" "lu" "me");
inventory!(PROCEDURE_C, 24,
    "l" "r" "k" "s" "m" "t" "x" "th" "d" "ng" "sk" "nt" "rn" "lt" "p" "st" "v" "z" "nd" "rk" "mp" "sh" "b" "lm");
inventory!(PROCEDURE_NOUNS, 30,
    "check" "audit" "drill" "review" "repair" "cleanup" "backup" "restart" "inspection" "test" "handover" "setup" "survey"
    "shutdown" "startup" "refill" "upgrade" "patrol" "countdown" "scan" "rollout" "sweep" "release" "transfer" "alarm"
    "exercise" "session" "routine" "cooldown" "overhaul");
